//! Where a pool may lie, and what to do about a worker that answers, refuses or hangs.

/// The longest path of a pool's directory: what the kernel takes, less the longest name below it.
pub const PATH_BYTES_MAX: usize = 3800;

/// Why a path cannot be a pool's. The caller is at fault; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Relative.
    #[error("a pool's path is absolute, like /srv/pool, not {0:?}")]
    NotAbsolute(String),
    /// Not in its one plain form.
    #[error("a pool's path is written without //, ., .., a slash at its end or control characters, not like {0:?}")]
    NotPlain(String),
    /// The root directory.
    #[error("a pool needs a directory of its own, not /")]
    Root,
    /// Too long.
    #[error("a pool's path has at most {PATH_BYTES_MAX} bytes")]
    TooLong,
}

/// Whether a pool's directory may have this path.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let Some(rest) = path.strip_prefix('/') else { return Err(PathError::NotAbsolute(path.to_owned())) };
    if rest.is_empty() {
        return Err(PathError::Root);
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    if path.chars().any(char::is_control) || rest.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(PathError::NotPlain(path.to_owned()));
    }
    Ok(())
}

/// Whether two pools would share files: one path is the other, or lies below it.
pub fn overlap(one: &str, other: &str) -> bool {
    let below = |upper: &str, lower: &str| {
        lower.strip_prefix(upper).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(one, other) || below(other, one)
}

/// How a worker answered when it was last asked to look at its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered: the pool is ready.
    Ready,
    /// It answered that its pool cannot be used: the pool has failed, the process is well.
    Refused,
    /// It did not answer in time: the pool has failed, the process is replaced.
    Hung,
}

/// What follows from a worker's answer, by the failure's code if it was none.
pub const fn judge(failure: Option<acp_base::Code>) -> Verdict {
    use acp_base::Code;
    match failure {
        None => Verdict::Ready,
        Some(Code::DeadlineExceeded | Code::Unavailable | Code::Cancelled) => Verdict::Hung,
        Some(
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::Conflict
            | Code::Unimplemented
            | Code::DataLoss
            | Code::Internal,
        ) => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_plain_form() {
        assert_eq!(check_path("/srv/pool"), Ok(()));
        assert_eq!(check_path("/"), Err(PathError::Root));
        for relative in ["srv", "", "./x"] {
            assert_eq!(check_path(relative), Err(PathError::NotAbsolute(relative.into())));
        }
        for odd in ["/a/../b", "/a/./b", "/a//b", "/a/", "/a\nb", "//"] {
            assert_eq!(check_path(odd), Err(PathError::NotPlain(odd.into())));
        }
        assert_eq!(check_path(&format!("/{}", "x".repeat(PATH_BYTES_MAX))), Err(PathError::TooLong));
    }

    #[test]
    fn pools_do_not_overlap() {
        assert!(overlap("/srv/a", "/srv/a"));
        assert!(overlap("/srv/a", "/srv/a/b"));
        assert!(overlap("/srv/a/b", "/srv/a"));
        assert!(!overlap("/srv/a", "/srv/ab"));
        assert!(!overlap("/srv/a", "/srv/b"));
    }

    #[test]
    fn only_silence_replaces_a_worker() {
        assert_eq!(judge(None), Verdict::Ready);
        for code in acp_base::Code::ALL {
            let silent = matches!(code.name(), "DeadlineExceeded" | "Unavailable" | "Cancelled");
            assert_eq!(judge(Some(code)), if silent { Verdict::Hung } else { Verdict::Refused }, "{code:?}");
        }
    }
}
