//! A web server that answers as the test wants: for probes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;

/// Answers every request with one status code.
#[derive(Debug)]
pub(crate) struct Web {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    code: Arc<AtomicU16>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// A server on a free port of the loopback that answers `code`.
    pub(crate) fn start(code: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let code = Arc::new(AtomicU16::new(code));
        let answer = code.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                match answer.load(Ordering::SeqCst) {
                    0 => return,
                    code => reply(stream, code),
                }
            }
        });
        Self { address, code, thread: Some(thread) }
    }

    /// Answers `code` from now on.
    pub(crate) fn answer(&self, code: u16) {
        self.code.store(code, Ordering::SeqCst);
    }
}

fn reply(mut stream: TcpStream, code: u16) {
    // A probe that went away is not the server's concern.
    let _ = stream.read(&mut [0; 1024]);
    let answer = format!("HTTP/1.1 {code} Test\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes());
}

impl Drop for Web {
    fn drop(&mut self) {
        self.answer(0);
        // Wakes the thread, which sees that it is to end.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
