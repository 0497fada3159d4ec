//! What waits to be written to a web server. Small pieces are gathered, large bodies are not copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use mapproxy_core::Response;
use tokio::io::AsyncWrite;

use super::record::{self, HEADER, MAX_CONTENT, kind};
use crate::cgi::{has_body, write_head};

/// Bodies up to this size are copied behind their head: one record, one piece.
const SMALL: usize = 32 << 10;
/// Pieces that are handed to the system at once.
const SLICES: usize = 32;

/// Bytes in the order they are to be written.
#[derive(Debug, Default)]
pub(super) struct Output {
    pieces: VecDeque<Bytes>,
    /// Comes after the pieces.
    tail: Vec<u8>,
    waiting: usize,
}

impl Output {
    pub(super) fn waiting(&self) -> usize {
        self.waiting + self.tail.len()
    }

    /// Where to add little things.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// The records of an answer, without the end of the request.
    pub(super) fn answer(&mut self, id: u16, response: Response, is_head: bool) {
        let mut head = Vec::with_capacity(1 << 10);
        write_head(&response, &mut head);
        let body = if has_body(&response, is_head) { response.into_body().into_bytes() } else { Bytes::new() };
        if head.len() + body.len() <= SMALL {
            self.tail.reserve(head.len() + body.len() + 6 * HEADER);
            head.extend_from_slice(&body);
            record::write(&mut self.tail, kind::STDOUT, id, &head);
        } else {
            self.stream(id, Bytes::from(head));
            self.stream(id, body);
        }
        record::write(&mut self.tail, kind::STDOUT, id, &[]);
    }

    fn stream(&mut self, id: u16, mut bytes: Bytes) {
        while !bytes.is_empty() {
            let content = bytes.split_to(bytes.len().min(MAX_CONTENT));
            let padding = usize::from(record::padding(content.len()));
            self.tail.extend_from_slice(&record::header(kind::STDOUT, id, content.len()));
            self.close_tail();
            self.waiting += content.len();
            self.pieces.push_back(content);
            self.tail.extend_from_slice(&[0; 8][..padding]);
        }
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.waiting += self.tail.len();
            self.pieces.push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// Writes as much as can be written now; the number of bytes.
    pub(super) fn poll_write(
        &mut self,
        mut stream: Pin<&mut impl AsyncWrite>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.close_tail();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.pieces.len().min(SLICES);
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        let written = ready!(stream.as_mut().poll_write_vectored(context, &slices[..count]))?;
        let mut left = written;
        self.waiting -= written;
        while left > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            if left < piece.len() {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            self.pieces.pop_front();
        }
        match written {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            _ => Poll::Ready(Ok(written)),
        }
    }
}
