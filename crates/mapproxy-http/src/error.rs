//! Why a server does not start.

use std::io;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is not one, or its host is unknown.
    #[error("cannot listen on {address}: the address was not understood: {cause}")]
    Address {
        /// As it was given.
        address: String,
        /// What the resolver says.
        #[source]
        cause: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", reason(cause))]
    Bind {
        /// As it was given.
        address: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A socket that is no address of the network cannot be listened on.
    #[error("cannot listen on {address}: {problem}")]
    Socket {
        /// As it was given.
        address: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An event loop or a thread could not be made.
    #[error("cannot start the server: {0}")]
    Runtime(#[source] io::Error),
}

fn reason(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "the address is in use by another program; stop that program or choose another port".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need special rights, choose a higher one".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => cause.to_string(),
    }
}
