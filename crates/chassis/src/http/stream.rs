//! A client's connection, read no faster than its requests are answered.
//!
//! What actix does with a plain socket has no bound that holds: it reads on while an answer waits to be read, and takes every
//! request that it finds in 128 KiB apart at once, which makes 10 MB of them. Here the bytes are handed on one request's head
//! at a time, the body when its handler asks for it, and nothing while an answer is under way.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::web::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::doors::{Connection, Pass, Work};

/// Most that is read at once. What is behind the end of a head is kept until it is due.
const PIECE: usize = 4 * 1024;

/// So many bytes of each request are part of what a connection takes, and not counted. An ordinary beat fits into them, so
/// that it costs no look at what all connections hold together.
const UNCOUNTED: isize = PIECE.cast_signed();

/// What actix keeps at most of a head that does not end; the memory of what it drops is not counted.
const LONGEST_HEAD: isize = 128 * 1024;

/// A head has to be complete so long after its first byte. (actix sees to that for the first one of a connection alone.)
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// A client that reads nothing of its answer for so long is cut off.
const WRITE_PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// Where a socket is read to. Read in place, a piece of actix's buffer would first be filled with zeros, all of it each time.
    static READ: RefCell<[u8; PIECE]> = const { RefCell::new([0; PIECE]) };
}

/// The connection, to be given to actix in place of the socket.
pub(super) struct Stream {
    io: TcpStream,
    pass: Pass,
    /// Read from the socket, and not due yet.
    kept: BytesMut,
    end: BlankLine,
    /// A head was handed on; the next bytes have to wait until actix has looked at it.
    handed_on: bool,
    /// Bytes of an answer that the client has yet to read.
    unread: usize,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// Finds blank lines, which end a head, in what comes in pieces.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum BlankLine {
    #[default]
    Within,
    /// Behind a line's end.
    Begun,
    /// Behind a line's end and a carriage return.
    Returned,
}

impl Stream {
    pub fn new(io: TcpStream, pass: Pass) -> Self {
        Self {
            io,
            pass,
            kept: BytesMut::new(),
            end: BlankLine::default(),
            handed_on: false,
            unread: 0,
            deadline: None,
        }
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.pass.connection
    }

    /// Whether it was told to make room, and no handler was: one that waits for the body is told through it, and may still
    /// answer.
    fn told(&self) -> bool {
        let connection = &self.pass.connection;
        connection.told() && (connection.work() == Work::None || self.unread > 0)
    }

    /// Fails when its client took too long.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let late = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready());
        if late { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// How many bytes are due.
    fn due(&self) -> usize {
        if self.handed_on || self.unread > 0 {
            return 0;
        }
        match self.pass.connection.work() {
            Work::None => PIECE,
            Work::Handling => 0,
            Work::WantsBody => {
                let left = self.pass.connection.body_left.load(Relaxed);
                usize::try_from(left).map_or(PIECE, |left| left.min(PIECE))
            }
        }
    }

    /// Hands on what is due of what was kept, or of what the socket has.
    fn hand_on(
        &mut self,
        most: usize,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let most = most.min(buffer.remaining());
        if self.kept.is_empty() {
            return READ.with_borrow_mut(|room| {
                let mut piece = ReadBuf::new(&mut room[..most]);
                ready!(Pin::new(&mut self.io).poll_read(context, &mut piece))?;
                let due = self.up_to_the_end(piece.filled());
                let (due_now, later) = piece.filled().split_at(due);
                buffer.put_slice(due_now);
                self.kept.extend_from_slice(later);
                Poll::Ready(Ok(due))
            });
        }
        let mut kept = std::mem::take(&mut self.kept);
        let due = self.up_to_the_end(&kept[..most.min(kept.len())]);
        buffer.put_slice(&kept.split_to(due));
        if !kept.is_empty() {
            self.kept = kept;
        }
        Poll::Ready(Ok(due))
    }

    /// How much of `bytes` is due. A body of known length ends where it ends; heads, and bodies in chunks, with a blank line.
    /// What is there of a body comes with its head, if that tells its length: then the handler need not ask for it.
    fn up_to_the_end(&mut self, bytes: &[u8]) -> usize {
        let connection = &self.pass.connection;
        let left = connection.body_left.load(Relaxed);
        if connection.work() == Work::WantsBody && left != u64::MAX {
            let due = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            connection.body_left.store(left - due as u64, Relaxed);
            return due;
        }
        let whole_head = connection.work() == Work::None && connection.read.load(Relaxed) == 0;
        let Some(end) = self.end.find(bytes) else { return bytes.len() };
        self.handed_on = true;
        let (head, behind) = bytes.split_at(end);
        let body = if whole_head { announced(head).min(behind.len()) } else { 0 };
        connection.body_ahead.store(body as u64, Relaxed);
        end + body
    }

    /// Counts what was handed on, and sees to it that a head ends in time.
    fn account(&mut self, handed_on: usize) {
        let connection = &self.pass.connection;
        let read = connection.read.fetch_add(handed_on.cast_signed(), Relaxed) + handed_on.cast_signed();
        match connection.work() {
            Work::None => {
                connection.hold(counted(read.min(LONGEST_HEAD)));
                if self.handed_on {
                    self.deadline = None;
                } else if handed_on > 0 && self.deadline.is_none() {
                    self.deadline = Some(Box::pin(sleep(HEAD_PATIENCE)));
                }
            }
            Work::Handling | Work::WantsBody => {
                connection.hold(counted(read));
                connection.set(Work::Handling);
            }
        }
    }

    fn set_unread(&mut self, bytes: usize) {
        let connection = &self.pass.connection;
        self.unread = bytes;
        connection.stalled.store(bytes > 0, Relaxed);
        connection.hold(counted(connection.read.load(Relaxed)) + bytes.cast_signed());
    }
}

fn counted(bytes: isize) -> isize {
    (bytes - UNCOUNTED).max(0)
}

/// The length of the body behind `head`; 0 if that is not told, or not so plainly that actix is sure to take it for the
/// same: then requests that follow would pass for a body.
fn announced(head: &[u8]) -> usize {
    let mut length = 0;
    for line in head.split(|byte| *byte == b'\n') {
        let value = |name: &[u8]| {
            let (start, value) = line.split_at_checked(name.len())?;
            start.eq_ignore_ascii_case(name).then_some(value)
        };
        if value(b"transfer-encoding:").is_some() {
            return 0;
        }
        if let Some(value) = value(b"content-length:") {
            length = str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        }
    }
    length
}

/// It made room.
fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Before it looks, so that whoever changes something later wakes it.
        this.pass.connection.waker.register(context.waker());
        this.check(context)?;
        let (due, told) = (this.due(), this.told());
        if told && this.unread > 0 {
            return gone();
        }
        if due == 0 {
            this.pass.connection.asleep.store(true, Relaxed);
            return Poll::Pending;
        }
        // A request that is there already waited for us, and not we for its client: it is answered first.
        match this.hand_on(due, context, buffer)? {
            Poll::Pending if told => gone(),
            Poll::Pending => Poll::Pending,
            Poll::Ready(handed_on) => {
                this.account(handed_on);
                if told && !this.handed_on { gone() } else { Poll::Ready(Ok(())) }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_write(context, bytes) {
            Poll::Pending => {
                if this.unread == 0 || this.deadline.is_none() {
                    this.deadline = Some(Box::pin(sleep(WRITE_PATIENCE)));
                }
                this.set_unread(bytes.len());
                this.check(context)?;
                if this.told() { gone() } else { Poll::Pending }
            }
            written => {
                // It reads: its time begins anew.
                if this.unread > 0 {
                    this.deadline = None;
                }
                written
            }
        }
    }

    /// actix comes here at the end of each of its turns, once all was written.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.handed_on = false;
        if this.unread > 0 {
            this.set_unread(0);
            this.deadline = None;
        }
        // Mostly there is nothing to read yet, and the socket wakes the task once there is.
        if this.due() > 0 && (!this.kept.is_empty() || this.io.poll_read_ready(context).is_ready()) {
            this.pass.connection.rouse();
        }
        Pin::new(&mut this.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

impl BlankLine {
    /// How many of `bytes` there are up to the end of the next blank line, if they have one.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut from = 0;
        while let Some(line) = memchr::memchr(b'\n', &bytes[from..]) {
            let before = self.after(&bytes[from..from + line]);
            from += line + 1;
            if before != Self::Within {
                *self = Self::Within;
                return Some(from);
            }
            *self = Self::Begun;
        }
        *self = self.after(&bytes[from..]);
        None
    }

    /// Behind these bytes, which have no line's end.
    fn after(self, bytes: &[u8]) -> Self {
        match (self, bytes) {
            (_, []) => self,
            (Self::Begun, b"\r") => Self::Returned,
            _ => Self::Within,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::Instant,
    };

    use super::{
        super::doors::{Bounds, Doors},
        *,
    };

    /// A stream, and its client.
    async fn connected() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let doors = Doors::new(Bounds { connections: 10, per_address: None, bytes: 1 << 30 });
        let (io, _) = listener.accept().await.unwrap();
        (Stream::new(io, doors.enter(None).unwrap()), client)
    }

    async fn read(stream: &mut Stream) -> io::Result<String> {
        let mut piece = [0; 2 * PIECE];
        let read = stream.read(&mut piece).await?;
        Ok(String::from_utf8_lossy(&piece[..read]).into_owned())
    }

    #[tokio::test]
    async fn one_head_is_handed_on_at_a_time_and_the_body_when_it_is_wanted() {
        let (mut stream, mut client) = connected().await;
        client.write_all(b"POST / HTTP/1.1\r\n\r\nbody\n\nGET / HTTP/1.1\r\n\r\nGET").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), "POST / HTTP/1.1\r\n\r\n");
        let connection = Arc::clone(stream.connection());
        connection.begin(6);
        stream.flush().await.unwrap();
        assert!(futures_util::poll!(Box::pin(read(&mut stream))).is_pending(), "nobody wants the body yet");
        connection.want_body();
        assert_eq!(read(&mut stream).await.unwrap(), "body\n\n");
        connection.want_body();
        assert!(futures_util::poll!(Box::pin(read(&mut stream))).is_pending(), "there is no more of it");
        connection.end();
        assert_eq!(read(&mut stream).await.unwrap(), "GET / HTTP/1.1\r\n\r\n");
        assert!(futures_util::poll!(Box::pin(read(&mut stream))).is_pending(), "its answer comes first");
        connection.begin(0);
        connection.end();
        stream.flush().await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), "GET");
    }

    #[tokio::test]
    async fn what_is_there_of_a_body_comes_with_its_head_and_what_is_behind_it_does_not() {
        let (mut stream, mut client) = connected().await;
        let head = "POST / HTTP/1.1\r\ncontent-length: 6\r\n\r\n";
        client.write_all(format!("{head}body\n\nGET").as_bytes()).await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), format!("{head}body\n\n"));
        let connection = Arc::clone(stream.connection());
        connection.begin(6);
        connection.want_body();
        stream.flush().await.unwrap();
        assert!(futures_util::poll!(Box::pin(read(&mut stream))).is_pending(), "there is no more of it");
        connection.end();
        stream.flush().await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), "GET");
        client.write_all(b" / HTTP/1.1\r\nContent-Length: 6\r\n\r\nlater").await.unwrap();
        let head = read(&mut stream).await.unwrap();
        assert_eq!(
            head, " / HTTP/1.1\r\nContent-Length: 6\r\n\r\n",
            "of a head in two pieces nothing is known"
        );
    }

    #[test]
    fn only_a_plain_length_is_believed() {
        let head = |lines: &str| format!("POST / HTTP/1.1\r\n{lines}\r\n");
        for (lines, length) in [
            ("Content-Length: 12\r\n", 12),
            ("Host: x\r\nCONTENT-LENGTH:12\r\n", 12),
            ("Content-Length: 12\r\nTransfer-Encoding: chunked\r\n", 0),
            ("transfer-encoding: chunked\r\nContent-Length: 12\r\n", 0),
            ("Content-Length: -1\r\n", 0),
            ("Content-Length: 1, 2\r\n", 0),
            ("Content-Length : 12\r\n", 0),
            ("X-Content-Length: 12\r\n", 0),
            ("", 0),
        ] {
            assert_eq!(announced(head(lines).as_bytes()), length, "{lines:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_is_cut_off_even_if_it_is_not_the_first() {
        let (mut stream, mut client) = connected().await;
        client.write_all(b"GET / HTTP/1.1\r\n\r\nGET / HT").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), "GET / HTTP/1.1\r\n\r\n");
        stream.flush().await.unwrap();
        let begun = Instant::now();
        assert_eq!(read(&mut stream).await.unwrap(), "GET / HT");
        assert_eq!(read(&mut stream).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= HEAD_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_cut_off() {
        let (mut stream, client) = connected().await;
        let begun = Instant::now();
        let error = stream.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= WRITE_PATIENCE);
        drop(client);
    }

    #[tokio::test]
    async fn nothing_is_read_while_an_answer_is_not() {
        let (mut stream, mut client) = connected().await;
        let answer = vec![0; 16 << 20];
        assert!(futures_util::poll!(Box::pin(stream.write_all(&answer))).is_pending());
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(futures_util::poll!(Box::pin(read(&mut stream))).is_pending());
        assert!(stream.unread > 0);
        assert!(stream.connection().stalled.load(Relaxed));
    }

    #[tokio::test]
    async fn whoever_is_told_to_go_is_answered_first_if_the_whole_head_is_there() {
        for (text, answered) in [("GET / HTTP/1.1\r\n\r\n", true), ("GET / HTTP/1.1\r\n", false), ("", false)]
        {
            let (mut stream, mut client) = connected().await;
            client.write_all(text.as_bytes()).await.unwrap();
            if !text.is_empty() {
                stream.io.readable().await.unwrap();
            }
            stream.connection().tell();
            match read(&mut stream).await {
                Ok(head) => assert_eq!((head.as_str(), answered), (text, true)),
                Err(error) => assert_eq!((error.kind(), answered), (io::ErrorKind::ConnectionAborted, false)),
            }
        }
    }

    #[test]
    fn a_blank_line_is_found_however_it_is_cut_into_pieces() {
        for text in
            ["GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", "GET / HTTP/1.1\n\nGET", "GET /\n\r\nGET", "a\r\n\nGET"]
        {
            let end = text.len() - "GET".len();
            assert_eq!(BlankLine::default().find(text.as_bytes()), Some(end), "{text:?}");
            for cut in 0..end {
                let mut blank_line = BlankLine::default();
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(blank_line.find(first), None, "{text:?} up to {cut}");
                assert_eq!(blank_line.find(second), Some(end - cut), "{text:?} from {cut}");
                assert_eq!(blank_line, BlankLine::Within);
            }
        }
    }

    #[test]
    fn what_has_no_blank_line_has_no_end() {
        for text in ["", "GET / HTTP/1.1\r\nHost: x\r\n", "\r\r\r", "a\n b\nc", "\n\r\r\n"] {
            assert_eq!(BlankLine::default().find(text.as_bytes()), None, "{text:?}");
        }
    }
}
