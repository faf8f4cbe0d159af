//! Copies the bytes of a reply to a second reader as they come, beside the decoder.
//!
//! Owns the channel between the two. Promises the provider's bytes in order and untouched, a clean
//! end only where the provider made one, and that a reader who takes nothing holds up the reply for a
//! bounded time and loses the rest.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Headers, passthrough};

/// Pieces that wait for the reader; a provider sends one per token.
const PIECES_MAX: usize = 64;

/// The writing end of a copy, before the head of the reply is there.
pub struct Tap {
    head: oneshot::Sender<(u16, Headers)>,
    flow: Flow,
}

/// The writing end of a copy, once the head is sent.
pub(super) struct Flow {
    /// `None` in it is the clean end.
    pieces: mpsc::Sender<Option<Bytes>>,
    patience: Duration,
}

/// The reading end of a copy.
pub struct TeeReader {
    head: oneshot::Receiver<(u16, Headers)>,
    pieces: mpsc::Receiver<Option<Bytes>>,
}

/// An item of the copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TeeItem {
    /// Bytes of the body as the provider sent them.
    Piece(Bytes),
    /// Clean end that the provider made.
    End,
    /// End of a copy that is not whole.
    Broken,
}

impl Tap {
    /// Creates both ends of a copy. A reader who takes nothing for `patience` loses the rest.
    #[must_use]
    pub fn new(patience: Duration) -> (Tap, TeeReader) {
        let ((head, head_received), (sender, pieces)) = (oneshot::channel(), mpsc::channel(PIECES_MAX));
        (Tap { head, flow: Flow { pieces: sender, patience } }, TeeReader { head: head_received, pieces })
    }

    pub(super) fn send_head(self, status: u16, headers: &Headers) -> Flow {
        // A reader that is gone needs no head.
        let _ = self.head.send((status, passthrough::answered(headers)));
        self.flow
    }
}

impl Flow {
    /// Reserves a place for one piece; `None` when the reader takes no more. Cancel-safe.
    pub(super) async fn reserve(&self) -> Option<mpsc::Permit<'_, Option<Bytes>>> {
        tokio::time::timeout(self.patience, self.pieces.reserve()).await.ok()?.ok()
    }
}

impl TeeReader {
    /// Waits for the status of the reply and the headers that clients read; `None` if there is no reply.
    pub async fn head(&mut self) -> Option<(u16, Headers)> {
        (&mut self.head).await.ok()
    }

    /// Waits for the next item. Cancel-safe.
    pub async fn next(&mut self) -> TeeItem {
        match self.pieces.recv().await {
            Some(Some(piece)) => TeeItem::Piece(piece),
            Some(None) => TeeItem::End,
            None => TeeItem::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn give(flow: &Flow, piece: Option<Bytes>) -> bool {
        let permit = flow.reserve().await;
        permit.map(|permit| permit.send(piece)).is_some()
    }

    #[tokio::test]
    async fn the_reader_gets_the_head_then_every_piece_then_how_it_ended() {
        for (ends, last) in [(true, TeeItem::End), (false, TeeItem::Broken)] {
            let (tap, mut tapped) = Tap::new(PATIENCE);
            let headers = [("content-type", "a/b"), ("set-cookie", "a=b")];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let flow = tap.send_head(203, &headers.into_iter().collect());
            let (status, headers_received) = tapped.head().await.unwrap();
            assert_eq!((status, headers_received.len()), (203, 1), "only what clients read");
            assert!(give(&flow, Some(Bytes::from_static(b"a"))).await && give(&flow, Some("b".into())).await);
            assert!(!ends || give(&flow, None).await);
            drop(flow);
            for expected in [TeeItem::Piece("a".into()), TeeItem::Piece("b".into()), last] {
                assert_eq!(tapped.next().await, expected);
            }
        }
        let (tap, mut tapped) = Tap::new(PATIENCE);
        drop(tap);
        assert_eq!(tapped.head().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_holds_it_up_for_a_bounded_time() {
        let (tap, mut tapped) = Tap::new(PATIENCE);
        let flow = tap.send_head(200, &Headers::new());
        for _ in 0..PIECES_MAX {
            assert!(give(&flow, Some("a".into())).await);
        }
        let began = tokio::time::Instant::now();
        assert!(!give(&flow, Some("b".into())).await);
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
        assert_eq!(tapped.next().await, TeeItem::Piece("a".into()), "what it was given it has");
        drop(tapped);
        assert!(!give(&flow, Some("b".into())).await, "a reader that is gone gets nothing");
    }
}
