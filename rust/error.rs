//! The one error type of the core. Every check happens before the first write.

/// What can go wrong in the core; the Python layer maps each variant to one exception class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside what the function accepts: says what was given and what was expected.
    #[error("{0}")]
    Invalid(String),
    /// An index is outside its axis, or arrays of indices do not fit together.
    #[error("{0}")]
    Index(String),
    /// An array of this many elements cannot be addressed.
    #[error("{0}")]
    TooLarge(String),
    /// There is not enough memory.
    #[error("{0}")]
    OutOfMemory(String),
    /// Another of the processes that train a network together ended, or what connects them does not work.
    #[error("{0}")]
    Worker(String),
    /// The caller's stop function asked for an end; everything written so far is undefined.
    #[error("interrupted")]
    Interrupted,
}

/// `Result` with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `Err(Error::Invalid(format!(..)))`, the shape of every argument check.
macro_rules! invalid {
    ($($arg:tt)*) => {
        Err($crate::Error::Invalid(format!($($arg)*)))
    };
}
pub(crate) use invalid;
