//! The limit on open files.

use std::io;

/// Raises the soft limit on open files (`RLIMIT_NOFILE`) to the hard limit, and returns the new limit.
/// `None` means that there is no limit, or that the system does not have this one. Each connection is
/// an open file, and the soft limit is 1024 on most machines. Call it at the start, before `serve`.
///
/// ```
/// let limit = tailwater_http::raise_open_files().unwrap();
/// assert!(limit.is_none_or(|files| files >= 64));
/// ```
///
/// # Errors
/// That of `setrlimit`. The limit is unchanged then.
pub fn raise_open_files() -> io::Result<Option<u64>> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        let limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
            setrlimit(Resource::Nofile, raised)?;
        }
        Ok(limit.maximum)
    }
    #[cfg(not(unix))]
    Ok(None)
}
