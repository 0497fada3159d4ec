//! Where a server listens: addresses of the network, sockets in the file system, sockets that others have opened.
//!
//! A socket in the file system is a file, and files stay when a program is killed. One that nobody answers on is
//! replaced, one in use is left alone, and a file that is no socket is never touched. Rights are set between binding and
//! listening, so that nobody gets in who shall not.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::ServerError;

/// Where to listen. As text: `HOST:PORT`, `unix:PATH`, `fd:NUMBER`, `systemd` or `systemd:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listen {
    /// An address of the network, as `host:port`. Port 0 is any free one.
    Tcp(String),
    /// A socket in the file system.
    Unix(UnixSocket),
    /// A listening socket that the parent process has left open under this number: 0 for spawn-fcgi and Apache's
    /// mod_fcgid. Numbers from 3 on work on Linux only.
    Fd(u32),
    /// The sockets that systemd has opened (`LISTEN_FDS`): all of them, or those of this `FileDescriptorName=`.
    Systemd(Option<String>),
}

/// A socket in the file system: created when the server is built, removed when it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    path: PathBuf,
    mode: Option<u32>,
    owner: Option<String>,
}

impl UnixSocket {
    /// A socket at `path`, with the rights that the process's umask leaves.
    pub fn new(path: impl Into<PathBuf>) -> UnixSocket {
        UnixSocket { path: path.into(), mode: None, owner: None }
    }

    /// Who may connect, as for `chmod`: those who may write. `0o660` lets the group in.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> UnixSocket {
        self.mode = Some(mode);
        self
    }

    /// Whose the socket is: `USER`, `USER:GROUP` or `:GROUP`, by name or number.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> UnixSocket {
        self.owner = Some(owner.into());
        self
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("a path must follow unix:".to_owned()),
                path => Ok(Listen::Unix(UnixSocket::new(path))),
            };
        }
        if let Some(number) = text.strip_prefix("fd:") {
            let number = number.parse().map_err(|_| format!("{number:?} is no number of a file descriptor"))?;
            return Ok(Listen::Fd(number));
        }
        match text.strip_prefix("systemd") {
            Some("") => return Ok(Listen::Systemd(None)),
            Some(name) if name.len() > 1 && name.starts_with(':') && name[1..].parse::<u16>().is_err() => {
                return Ok(Listen::Systemd(Some(name[1..].to_owned())));
            }
            _ => {}
        }
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && is_port(port) => Ok(Listen::Tcp(text.to_owned())),
            _ => Err(format!("{text:?} is none of HOST:PORT, unix:PATH, fd:NUMBER, systemd")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => f.write_str(address),
            Listen::Unix(socket) => write!(f, "unix:{}", socket.path.display()),
            Listen::Fd(number) => write!(f, "fd:{number}"),
            Listen::Systemd(None) => f.write_str("systemd"),
            Listen::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

/// Where a server listens, now that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddr {
    /// An address of the network.
    Tcp(SocketAddr),
    /// A socket in the file system; the path is empty if an inherited socket has none.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Tcp(address) => write!(f, "{address}"),
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An open listening socket, not blocking.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: ListeningSocket,
    pub(crate) address: ListenAddr,
    /// To be dropped when the server accepts no more.
    pub(crate) file: Option<SocketFile>,
}

#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// The file of a socket of ours. Removed when dropped, unless another program's has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    #[cfg(unix)]
    path: PathBuf,
    #[cfg(unix)]
    identity: (u64, u64),
}

impl Listen {
    /// Opens what there is to open; more than one socket only for systemd's.
    pub(crate) fn open(&self) -> Result<Vec<Listener>, ServerError> {
        match self {
            Listen::Tcp(address) => Ok(vec![tcp(address)?]),
            #[cfg(unix)]
            Listen::Unix(socket) => Ok(vec![unix::bind(self, socket)?]),
            #[cfg(unix)]
            Listen::Fd(number) => Ok(vec![unix::inherited(self, *number)?]),
            #[cfg(unix)]
            Listen::Systemd(name) => unix::systemd(self, name.as_deref()),
            #[cfg(not(unix))]
            other => Err(ServerError::Socket { address: other.to_string(), problem: "only Unix has these".to_owned() }),
        }
    }
}

/// Binds the first of the address's meanings that can be bound.
fn tcp(address: &str) -> Result<Listener, ServerError> {
    let not_understood = |cause| ServerError::Address { address: address.to_owned(), cause };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    let mut candidates: Vec<SocketAddr> = address.to_socket_addrs().map_err(not_understood)?.collect();
    // `localhost` may be both; clients that know only one of the two know the older one.
    candidates.sort_by_key(SocketAddr::is_ipv6);
    for candidate in candidates {
        match tcp_listener(candidate) {
            Ok((socket, local)) => {
                let (socket, address) = (ListeningSocket::Tcp(socket), ListenAddr::Tcp(local));
                return Ok(Listener { socket, address, file: None });
            }
            Err(error) => failure = error,
        }
    }
    Err(ServerError::Bind { address: address.to_owned(), cause: failure })
}

fn tcp_listener(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // On Unix this allows a restart while old connections linger; on Windows it would share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Connections that wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use nix::unistd::{Group, User};
    use socket2::{Domain, SockAddr, Socket, Type};

    use super::{BACKLOG, Listen, ListenAddr, Listener, ListeningSocket, SocketFile, UnixSocket};
    use crate::ServerError;

    fn problem(listen: &Listen, problem: impl ToString) -> ServerError {
        ServerError::Socket { address: listen.to_string(), problem: problem.to_string() }
    }

    pub(super) fn bind(listen: &Listen, wanted: &UnixSocket) -> Result<Listener, ServerError> {
        let path = &wanted.path;
        // Who the owner is must be known before anything is changed.
        let owner = wanted.owner.as_deref().map(ids).transpose().map_err(|error| problem(listen, error))?;
        remove_stale(path).map_err(|error| problem(listen, error))?;
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |error: io::Error| problem(listen, format!("{doing}: {error}"))
        };
        let address = SockAddr::unix(path).map_err(failed("this path cannot be used"))?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("cannot make a socket"))?;
        socket.bind(&address).map_err(failed("cannot create it"))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("cannot look at it"))?;
        // From here on it goes away with this value.
        let file = SocketFile { path: path.clone(), identity: (metadata.dev(), metadata.ino()) };
        if let Some((user, group)) = owner {
            chown(path, user, group).map_err(failed("cannot give it to its owner"))?;
        }
        if let Some(mode) = wanted.mode {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("cannot set its mode"))?;
        }
        socket.listen(BACKLOG).map_err(failed("cannot listen"))?;
        socket.set_nonblocking(true).map_err(failed("cannot listen"))?;
        let socket = ListeningSocket::Unix(OwnedFd::from(socket).into());
        Ok(Listener { socket, address: ListenAddr::Unix(path.clone()), file: Some(file) })
    }

    /// Makes way for a new socket, if what is there has been left by a program that has ended.
    fn remove_stale(path: &Path) -> Result<(), String> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        if !metadata.file_type().is_socket() {
            return Err("a file is there that is no socket; remove it or choose another path".to_owned());
        }
        match UnixStream::connect(path) {
            Ok(_) => {
                Err("the socket is in use by another program; stop that program or choose another path".to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(format!("cannot remove the socket that another program has left: {error}"))
                }
                _ => Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // Its queue is full: somebody is there.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err("the socket is in use by another program that is busy".to_owned())
            }
            Err(error) => Err(format!("cannot tell whether the socket is in use: {error}")),
        }
    }

    /// `USER[:GROUP]` or `:GROUP` as numbers.
    pub(super) fn ids(owner: &str) -> Result<(Option<u32>, Option<u32>), String> {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        if user.is_empty() && group.is_empty() {
            return Err("the owner is empty; expected USER, USER:GROUP or :GROUP".to_owned());
        }
        let user = match (user, user.parse()) {
            ("", _) => None,
            (_, Ok(number)) => Some(number),
            (name, Err(_)) => match User::from_name(name) {
                Ok(Some(user)) => Some(user.uid.as_raw()),
                Ok(None) => return Err(format!("there is no user {name:?}")),
                Err(error) => return Err(format!("cannot look up the user {name:?}: {error}")),
            },
        };
        let group = match (group, group.parse()) {
            ("", _) => None,
            (_, Ok(number)) => Some(number),
            (name, Err(_)) => match Group::from_name(name) {
                Ok(Some(group)) => Some(group.gid.as_raw()),
                Ok(None) => return Err(format!("there is no group {name:?}")),
                Err(error) => return Err(format!("cannot look up the group {name:?}: {error}")),
            },
        };
        Ok((user, group))
    }

    impl Drop for SocketFile {
        fn drop(&mut self) {
            let is_ours = fs::symlink_metadata(&self.path)
                .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
            if is_ours && let Err(error) = fs::remove_file(&self.path) {
                log::warn!(target: "mapproxy.http", "cannot remove the socket {}: {error}", self.path.display());
            }
        }
    }

    pub(super) fn inherited(listen: &Listen, number: u32) -> Result<Listener, ServerError> {
        let fd = match number {
            0 => io::stdin().as_fd().try_clone_to_owned(),
            1 => io::stdout().as_fd().try_clone_to_owned(),
            2 => io::stderr().as_fd().try_clone_to_owned(),
            number => duplicate(number),
        };
        let fd =
            fd.map_err(|error| problem(listen, format!("there is no such open file, or no right to it: {error}")))?;
        listener(listen, fd.into())
    }

    /// A file descriptor of this process that only its number is known of.
    #[cfg(target_os = "linux")]
    fn duplicate(number: u32) -> io::Result<OwnedFd> {
        use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

        let number = number.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        let this = pidfd_open(getpid(), PidfdFlags::empty())?;
        Ok(pidfd_getfd(this, number, PidfdGetfdFlags::empty())?)
    }

    #[cfg(not(target_os = "linux"))]
    fn duplicate(_number: u32) -> io::Result<OwnedFd> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only the numbers 0 to 2 can be used on this system"))
    }

    pub(super) fn systemd(listen: &Listen, wanted: Option<&str>) -> Result<Vec<Listener>, ServerError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = listenfd::ListenFd::from_env();
        if passed.len() == 0 {
            return Err(problem(
                listen,
                "no sockets were passed (LISTEN_FDS); start this program by a .socket unit of systemd",
            ));
        }
        let mut names = names.split(':');
        let mut listeners = Vec::new();
        for at in 0..passed.len() {
            let name = names.next().unwrap_or_default();
            if wanted.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let unusable = |error: io::Error| problem(listen, format!("socket {at} ({name:?}): {error}"));
            let fd = match passed.take_unix_listener(at) {
                Ok(socket) => socket.map(OwnedFd::from),
                Err(_) => passed.take_tcp_listener(at).map_err(unusable)?.map(OwnedFd::from),
            };
            if let Some(fd) = fd {
                listeners.push(listener(listen, fd.into())?);
            }
        }
        match listeners.is_empty() {
            true => Err(problem(listen, "no socket of that name was passed (LISTEN_FDNAMES)")),
            false => Ok(listeners),
        }
    }

    /// Finds out what kind of socket was inherited.
    fn listener(listen: &Listen, socket: Socket) -> Result<Listener, ServerError> {
        let is_no_socket = |error: io::Error| problem(listen, format!("this is no socket: {error}"));
        let kind = socket.r#type().map_err(is_no_socket)?;
        let is_listening = kind == Type::STREAM && socket.is_listener().map_err(is_no_socket)?;
        if !is_listening {
            return Err(problem(listen, "the socket does not listen for connections (Accept=no is needed in systemd)"));
        }
        let local = socket.local_addr().map_err(is_no_socket)?;
        socket.set_nonblocking(true).map_err(is_no_socket)?;
        let (socket, address) = match local.as_socket() {
            Some(address) => (ListeningSocket::Tcp(socket.into()), ListenAddr::Tcp(address)),
            None if local.is_unix() => {
                let path = local.as_pathname().unwrap_or(Path::new("")).to_owned();
                (ListeningSocket::Unix(OwnedFd::from(socket).into()), ListenAddr::Unix(path))
            }
            None => return Err(problem(listen, "the socket is neither of TCP nor of the file system")),
        };
        // The file of an inherited socket belongs to whom has opened it.
        Ok(Listener { socket, address, file: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_the_same() {
        for text in ["127.0.0.1:80", "[::1]:8080", "localhost:0", "unix:run/a.sock", "fd:0", "systemd", "systemd:maps"]
        {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert_eq!("systemd:80".parse(), Ok(Listen::Tcp("systemd:80".to_owned())));
        for text in ["", "8080", "host", ":80", "unix:", "fd:x", "fd:-1", "host:port", "systemd:"] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
    }

    #[cfg(unix)]
    mod sockets {
        use std::fs;
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::net::{UnixListener, UnixStream};

        use super::*;

        fn open(socket: UnixSocket) -> Result<Listener, String> {
            let mut listeners = Listen::Unix(socket).open().map_err(|error| error.to_string())?;
            Ok(listeners.pop().unwrap())
        }

        #[test]
        fn a_socket_has_the_wanted_mode_and_is_removed_at_the_end() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            let listener = open(UnixSocket::new(&path).mode(0o606)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o606);
            assert_eq!(listener.address, ListenAddr::Unix(path.clone()));
            UnixStream::connect(&path).unwrap();
            drop(listener);
            assert!(!path.exists());
        }

        #[test]
        fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            drop(UnixListener::bind(&path).unwrap());
            let listener = open(UnixSocket::new(&path)).unwrap();
            let error = open(UnixSocket::new(&path)).unwrap_err();
            assert!(error.contains("in use") && error.contains(&path.display().to_string()), "{error}");
            drop(listener);
        }

        #[test]
        fn a_file_that_is_no_socket_is_left_alone() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("precious");
            fs::write(&path, "data").unwrap();
            let error = open(UnixSocket::new(&path)).unwrap_err();
            assert!(error.contains("no socket"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"data");
        }

        #[test]
        fn the_socket_of_a_successor_is_not_removed() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            let first = open(UnixSocket::new(&path)).unwrap();
            fs::rename(&path, dir.path().join("old")).unwrap();
            let second = open(UnixSocket::new(&path)).unwrap();
            drop(first);
            UnixStream::connect(&path).unwrap();
            drop(second);
            assert!(!path.exists());
        }

        #[test]
        fn owners_are_looked_up_and_unknown_ones_named() {
            assert_eq!(unix::ids("root:0"), Ok((Some(0), Some(0))));
            assert_eq!(unix::ids(":12"), Ok((None, Some(12))));
            assert!(unix::ids("no-such-user").unwrap_err().contains("no-such-user"));
            assert!(unix::ids("0:no-such-group").unwrap_err().contains("no-such-group"));
            assert!(unix::ids("").is_err() && unix::ids(":").is_err());
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            assert!(open(UnixSocket::new(&path).owner("no-such-user")).is_err());
            assert!(!path.exists(), "a socket is there that nobody serves");
        }

        #[test]
        fn what_cannot_be_listened_on_is_refused_by_name() {
            let error = Listen::Fd(4000).open().unwrap_err().to_string();
            assert!(error.contains("fd:4000"), "{error}");
            let error = open(UnixSocket::new("/nonexistent/socket")).unwrap_err();
            assert!(error.contains("/nonexistent/socket"), "{error}");
            let error = open(UnixSocket::new("a".repeat(200))).unwrap_err();
            assert!(error.contains("path cannot be used"), "{error}");
        }
    }
}
