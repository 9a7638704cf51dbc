//! Users and groups of the system's account database.

use std::io;

use nix::unistd;

/// A user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub uid: u32,
    /// The id of its primary group.
    pub gid: u32,
}

/// The user of this name, if the system has one.
///
/// # Errors
/// When the account database cannot be read.
pub fn user(name: &str) -> io::Result<Option<User>> {
    let user = unistd::User::from_name(name)?;
    Ok(user.map(|user| User { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

/// The id of the group of this name, if the system has one.
///
/// # Errors
/// When the account database cannot be read.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let group = unistd::Group::from_name(name)?;
    Ok(group.map(|group| group.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_and_nonsense_is_not() {
        assert_eq!(user("root").expect("readable"), Some(User { uid: 0, gid: 0 }));
        assert_eq!(group("root").expect("readable"), Some(0));
        assert_eq!(user("acp-no-such-user").expect("readable"), None);
        assert_eq!(group("acp-no-such-group").expect("readable"), None);
    }
}
