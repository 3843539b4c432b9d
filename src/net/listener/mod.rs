//! Sockets that listen, for others to accept on: bound once, never accepted on here.
//!
//! `SO_REUSEADDR` but never `SO_REUSEPORT`: two that share a port each have a queue, and what waits in the queue of the one
//! that ends is reset. IPv6 never takes IPv4 along. Blocking, as systemd passes them: a service may simply accept. Nobody
//! may call shutdown(2) on one: it would end it for all who hold it.

mod unix;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::socket::Socket;
use crate::types::error::Code;

/// Connections that may wait to be accepted; the kernel takes less where `net.core.somaxconn` is lower.
const BACKLOG: i32 = 4096;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// A socket that listens. Its file, if cafe made one, goes with it.
#[derive(Debug)]
pub struct Listener {
    descriptor: Arc<OwnedFd>,
    file: Option<Socket>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else listens there.
    #[error("cannot listen on {0}: somebody does already")]
    InUse(Address),
    /// The port is privileged, or the directory is not ours.
    #[error("cannot listen on {address}")]
    NotPermitted {
        /// Where.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// No interface of this machine has the address.
    #[error("cannot listen on {0}: this machine does not have that address")]
    NotLocal(Address),
    /// A file that is not a socket has the socket's name.
    #[error("cannot listen on {0}: it exists and is not a socket")]
    NotASocket(Address),
    /// Anything else the system refuses.
    #[error("cannot {operation} {address}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the address is taken, not this machine's, or not ours to take.
    pub fn bind(address: &Address) -> Result<Self, Error> {
        match address {
            Address::Ip(ip) => {
                let descriptor = bind_ip(*ip).map_err(|source| Error::of(address, source))?;
                Ok(Self { descriptor: Arc::new(descriptor), file: None })
            }
            Address::Unix(path) => {
                let (descriptor, file) = unix::bind(address, path)?;
                Ok(Self { descriptor: Arc::new(descriptor), file: Some(file) })
            }
        }
    }

    /// One that somebody else bound, and whose file is theirs.
    #[must_use]
    pub fn given(descriptor: OwnedFd) -> Self {
        Self { descriptor: Arc::new(descriptor), file: None }
    }

    /// One that an earlier cafe bound to this address: its file is ours again.
    #[must_use]
    pub fn found(descriptor: OwnedFd, address: &Address) -> Self {
        let file = match address {
            Address::Ip(_) => None,
            Address::Unix(path) => Socket::claim(path).ok(),
        };
        Self { descriptor: Arc::new(descriptor), file }
    }

    /// Whether its file goes with it.
    #[must_use]
    pub fn owns_file(&self) -> bool {
        self.file.is_some()
    }

    /// The descriptor, to pass on.
    #[must_use]
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }
}

/// Where this descriptor listens, if it does.
///
/// # Errors
/// Why it is nothing that [`Listener::bind`] could have made, for people.
pub fn address_of(descriptor: impl AsFd) -> Result<Address, String> {
    let descriptor = descriptor.as_fd();
    let kind = sockopt::socket_type(descriptor).map_err(|_| "it is not a socket".to_owned())?;
    if kind != SocketType::STREAM {
        return Err("it is not a stream socket".to_owned());
    }
    if !sockopt::socket_acceptconn(descriptor).unwrap_or(false) {
        return Err("it does not listen".to_owned());
    }
    let name = rustix::net::getsockname(descriptor)
        .map_err(|errno| format!("its address is not told: {errno}"))?;
    if name.address_family() == AddressFamily::UNIX {
        return unix::address(name);
    }
    let address = SocketAddr::try_from(name)
        .map_err(|_| "it is neither a TCP nor a unix socket".to_owned())?;
    if address.is_ipv6() && !sockopt::ipv6_v6only(descriptor).unwrap_or(false) {
        let hint = "`BindIPv6Only=ipv6-only` keeps them apart";
        return Err(format!("it listens on {address} for IPv4 as well; {hint}"));
    }
    Ok(Address::Ip(address))
}

fn bind_ip(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

impl Error {
    fn of(address: &Address, source: io::Error) -> Self {
        let address = address.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address, source },
            _ => Self::System { operation: "listen on", address, source },
        }
    }

    /// The code a user can look up.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InUse(_) => Code::AddressInUse,
            Self::NotPermitted { .. } => Code::NotPermitted,
            Self::NotLocal(_) | Self::NotASocket(_) | Self::System { .. } => Code::AddressUnusable,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InUse(Address::Ip(ip)) => {
                Some(format!("`ss -lptn 'sport = :{}'` shows who", ip.port()))
            }
            Self::InUse(Address::Unix(path)) => {
                Some(format!("`ss -lpx src {}` shows who", path.display()))
            }
            Self::NotPermitted { address: Address::Ip(_), .. } => Some(
                "a port below 1024 needs the capability CAP_NET_BIND_SERVICE: run cafe as root, with \
                 `AmbientCapabilities=CAP_NET_BIND_SERVICE` in its unit, or let a systemd socket unit pass it"
                    .to_owned(),
            ),
            Self::NotPermitted { address: Address::Unix(path), .. } => {
                let directory = path.parent().unwrap_or(path).display();
                Some(format!("cafe must be able to make files in {directory}"))
            }
            Self::NotLocal(_) | Self::NotASocket(_) | Self::System { .. } => None,
        }
    }
}
