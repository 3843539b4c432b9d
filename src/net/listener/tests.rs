//! Real sockets: on ports the kernel chooses, and on paths of a directory of their own.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::sockopt;

use super::{Address, Error, Listener, address_of};
use crate::types::error::Code;

fn unix(path: &Path) -> Address {
    Address::Unix(path.to_owned())
}

/// A port that the kernel chooses, and what is listened on then.
fn bind_any(ip: std::net::IpAddr) -> (Listener, SocketAddr) {
    let listener = Listener::bind(&Address::Ip(SocketAddr::new(ip, 0))).expect("binds");
    let Address::Ip(address) = address_of(listener.descriptor()).expect("listens") else {
        panic!("not TCP");
    };
    (listener, address)
}

#[test]
fn a_tcp_socket_queues_who_connects_and_is_not_inherited() {
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let (listener, address) = bind_any(ip);
        let descriptor = listener.descriptor();
        TcpStream::connect(address).expect("is queued");
        assert!(fcntl_getfd(&descriptor).expect("flags").contains(FdFlags::CLOEXEC));
        assert!(sockopt::socket_reuseaddr(&descriptor).expect("is told"));
        assert!(!sockopt::socket_reuseport(&descriptor).expect("is told"));
        assert!(ip.is_ipv4() || sockopt::ipv6_v6only(&descriptor).expect("is told"));
    }
}

#[test]
fn an_address_that_is_taken_is_said_to_be() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = Address::Ip(taken.local_addr().expect("is told"));
    let error = Listener::bind(&address).expect_err("is taken");
    assert_eq!(error.code(), Code::AddressInUse);
    assert!(error.hint().is_some_and(|hint| hint.starts_with("`ss -lptn")), "{error}");
    drop(taken);
    Listener::bind(&address).expect("is free again");
}

#[test]
fn an_address_of_another_machine_is_said_to_be() {
    let elsewhere = Address::Ip("192.0.2.7:80".parse().expect("an address"));
    let error = Listener::bind(&elsewhere).expect_err("documentation only");
    assert!(matches!(error, Error::NotLocal(_)), "{error:?}");
    assert_eq!(error.code(), Code::AddressUnusable);
}

#[test]
fn a_unix_socket_takes_its_place_at_once_and_its_file_with_it() {
    let directory = tempfile::tempdir().expect("temp dir");
    let path = directory.path().join("made/s");
    let listener = Listener::bind(&unix(&path)).expect("binds");
    UnixStream::connect(&path).expect("is queued");
    assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o666);
    assert_eq!(address_of(listener.descriptor()), Ok(unix(&path)));
    let files = fs::read_dir(path.parent().expect("a directory")).expect("reads");
    assert_eq!(files.count(), 1, "nothing else is left");
    drop(listener);
    assert!(!path.try_exists().expect("can be looked at"));
}

#[test]
fn a_unix_socket_replaces_what_nobody_answers_on_and_nothing_else() {
    let directory = tempfile::tempdir().expect("temp dir");
    let (path, file) = (directory.path().join("s"), directory.path().join("file"));
    drop(UnixListener::bind(&path).expect("binds"));
    let _left = UnixListener::bind(directory.path().join(".s.cafe")).expect("binds");
    let _first = Listener::bind(&unix(&path)).expect("replaces what is dead");
    let error = Listener::bind(&unix(&path)).expect_err("the first answers");
    assert!(matches!(error, Error::InUse(_)), "{error:?}");
    UnixStream::connect(&path).expect("the first is still there");

    fs::write(&file, "precious").expect("writes");
    let error = Listener::bind(&unix(&file)).expect_err("is no socket");
    assert!(matches!(error, Error::NotASocket(_)), "{error:?}");
    assert_eq!(fs::read_to_string(&file).expect("is still there"), "precious");
}

#[test]
fn what_does_not_listen_as_we_would_is_told_apart() {
    let directory = tempfile::tempdir().expect("temp dir");
    let refused = |descriptor: OwnedFd| address_of(descriptor).expect_err("is refused");
    let file = fs::File::open("/dev/null").expect("opens");
    assert_eq!(refused(file.into()), "it is not a socket");
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("binds");
    assert_eq!(refused(datagrams.into()), "it is not a stream socket");
    let (_listener, address) = bind_any(Ipv4Addr::LOCALHOST.into());
    let connected = TcpStream::connect(address).expect("connects");
    assert_eq!(refused(connected.into()), "it does not listen");
    let both = TcpListener::bind("[::]:0").expect("binds");
    assert!(refused(both.into()).contains("for IPv4 as well; `BindIPv6Only=ipv6-only`"));
    let path = directory.path().join("theirs");
    let theirs = UnixListener::bind(&path).expect("binds");
    assert_eq!(address_of(theirs), Ok(unix(&path)));
}

#[test]
fn a_found_socket_has_its_file_again_and_a_given_one_does_not() {
    let directory = tempfile::tempdir().expect("temp dir");
    let (found, given) = (directory.path().join("found"), directory.path().join("given"));
    let listen = |path: &Path| OwnedFd::from(UnixListener::bind(path).expect("binds"));
    drop(Listener::found(listen(&found), &unix(&found)));
    assert!(!found.try_exists().expect("can be looked at"));
    drop(Listener::given(listen(&given)));
    assert!(given.try_exists().expect("can be looked at"), "it is its maker's");
}
