//! The vocabulary every other crate speaks: names, ids, sizes, instants and failures.
//!
//! Deliberately not here: anything that makes a system call, reads a clock or draws randomness. Values come in,
//! values go out.
//!
//! **Invariant**: a value of one of these types is valid; whatever comes from outside is refused while it is parsed.

mod failure;
mod id;
mod name;
mod size;
mod text;
mod time;

pub use failure::{Blame, Change, Code, Failure, Retry};
pub use id::{EpochId, Uid};
pub use name::{Name, NameError};
pub use size::{ByteSize, ByteSizeError};
pub use text::{from_base64, from_hex, sentence, to_base64, to_hex};
pub use time::{BootInstant, WallTime};

/// What these types look like on the wire.
#[cfg(feature = "introspect")]
mod introspect {
    use zlink::{idl, introspect::Type};

    use super::{ByteSize, Name, Uid, WallTime};

    impl Type for Name {
        const TYPE: &'static idl::Type<'static> = &idl::Type::String;
    }

    impl Type for Uid {
        const TYPE: &'static idl::Type<'static> = &idl::Type::String;
    }

    impl Type for ByteSize {
        const TYPE: &'static idl::Type<'static> = &idl::Type::Int;
    }

    impl Type for WallTime {
        const TYPE: &'static idl::Type<'static> = &idl::Type::Int;
    }
}

/// What these types look like as JSON schemas.
#[cfg(feature = "openapi")]
mod openapi;
