//! Where a file of a pool lies.

use std::fmt;

use acp_base::{Name, Uid};
use acp_wire_model::image::DiskFormat;

/// A file of a pool: directly below `images/` or `volumes/`, with a name made from a [`Uid`] or a [`Name`] and the layout
/// as its ending. There is no other way to name one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An image, named by its object's identity.
    Image(Uid),
    /// A volume, named by its name in the pool.
    Volume(Name),
}

/// Why a backing file's name is refused. Whoever wrote the header is at fault; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Not one of the two forms that a volume's header may hold.
    #[error(
        "its backing file {0:?} is not allowed: a volume lies above an image or a volume of its own pool \
         (../images/UID.FORMAT or ../volumes/NAME.FORMAT)"
    )]
    Outside(String),
    /// A backing file whose layout would have to be guessed.
    #[error("its header says that its backing file is {said:?} where the file's name says {named:?}")]
    Format {
        /// By the header.
        said: String,
        /// By the name.
        named: &'static str,
    },
}

/// The directory's name of images.
pub(crate) const IMAGES: &str = "images";
/// The directory's name of volumes.
pub(crate) const VOLUMES: &str = "volumes";

impl Place {
    /// The directory it lies in, below the pool's.
    pub const fn directory(&self) -> &'static str {
        match self {
            Self::Image(_) => IMAGES,
            Self::Volume(_) => VOLUMES,
        }
    }

    /// The name of its file in that directory: one component without a slash.
    pub fn file_name(&self, format: DiskFormat) -> String {
        let ending = ending(format);
        match self {
            Self::Image(uid) => format!("{}.{ending}", uid.simple()),
            Self::Volume(name) => format!("{name}.{ending}"),
        }
    }

    /// How the header of a volume above it names it. The same from `volumes/` and from `staging/`, as both lie beside its
    /// directory.
    pub fn backing_name(&self, format: DiskFormat) -> String {
        format!("../{}/{}", self.directory(), self.file_name(format))
    }

    /// The image of that file name, if it is one.
    pub fn image(file_name: &str) -> Option<(Self, DiskFormat)> {
        let (stem, format) = split(file_name)?;
        let uid: Uid = stem.parse().ok()?;
        (uid.simple() == stem).then_some((Self::Image(uid), format))
    }

    /// The volume of that file name, if it is one.
    pub fn volume(file_name: &str) -> Option<(Self, DiskFormat)> {
        let (stem, format) = split(file_name)?;
        Some((Self::Volume(stem.parse().ok()?), format))
    }

    /// The file that a volume's header names as its backing.
    pub fn of_backing(name: &str, format: Option<&str>) -> Result<(Self, DiskFormat), PlaceError> {
        let file = name.strip_prefix("../").and_then(|rest| rest.split_once('/'));
        let place = match file {
            Some((IMAGES, file)) => Self::image(file),
            Some((VOLUMES, file)) => Self::volume(file),
            _ => None,
        };
        let (place, named) = place.ok_or_else(|| PlaceError::Outside(name.to_owned()))?;
        match format {
            Some(said) if said != ending(named) => {
                Err(PlaceError::Format { said: said.to_owned(), named: ending(named) })
            }
            _ => Ok((place, named)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(uid) => write!(f, "image {uid}"),
            Self::Volume(name) => write!(f, "volume {name:?}", name = name.as_str()),
        }
    }
}

/// The ending of a file's name, which is also QEMU's name of the layout.
pub(crate) const fn ending(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => "qcow2",
        DiskFormat::Raw => "raw",
    }
}

fn split(file_name: &str) -> Option<(&str, DiskFormat)> {
    match file_name.rsplit_once('.')? {
        (stem, "qcow2") => Some((stem, DiskFormat::Qcow2)),
        (stem, "raw") => Some((stem, DiskFormat::Raw)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: Uid = Uid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);

    #[test]
    fn names_and_places_are_one_to_one() {
        let volume = Place::Volume("a.raw".parse().expect("a name"));
        for (place, format) in [(Place::Image(UID), DiskFormat::Raw), (volume, DiskFormat::Qcow2)] {
            let name = place.backing_name(format);
            assert_eq!(Place::of_backing(&name, Some(ending(format))), Ok((place.clone(), format)));
            assert_eq!(Place::of_backing(&name, None), Ok((place, format)));
        }
    }

    #[test]
    fn nothing_else_is_a_place() {
        let outside = [
            "/etc/passwd",
            "../../etc/passwd.raw",
            "../images/../volumes/a.raw",
            "../images/a.qcow2",
            "../volumes/../a.raw",
            "../volumes/.raw",
            "../volumes/-a.raw",
            "../volumes/a",
            "../volumes/a.vmdk",
            "../staging/a.raw",
            "images/0192000000007000800000000000000001.raw",
            "../images/01920000-0000-7000-8000-000000000001.raw",
            "volumes/a.raw",
            "a.raw",
            "json:{\"driver\":\"raw\"}",
            "nbd://host/x",
            "",
        ];
        for name in outside {
            assert_eq!(Place::of_backing(name, None), Err(PlaceError::Outside(name.to_owned())));
        }
    }

    #[test]
    fn the_layout_is_never_guessed() {
        let error = Place::of_backing("../volumes/a.raw", Some("qcow2"));
        assert_eq!(error, Err(PlaceError::Format { said: "qcow2".into(), named: "raw" }));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused_or_stays_in_the_pool(text in "(\\.\\./)?(images|volumes)?/?[a-zA-Z0-9./-]{0,40}(\\.raw|\\.qcow2)?") {
            if let Ok((place, format)) = Place::of_backing(&text, None) {
                proptest::prop_assert_eq!(place.backing_name(format), text);
                proptest::prop_assert!(!place.file_name(format).contains('/'));
            }
        }
    }
}
