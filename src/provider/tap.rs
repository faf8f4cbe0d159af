//! Hands the bytes of a reply to a second reader as they come, whoever decodes them.
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

/// The end that gives.
pub struct Tap {
    head: oneshot::Sender<(u16, Headers)>,
    flow: Flow,
}

/// The end that gives, once the head is told.
pub(super) struct Flow {
    /// `None` in it is the clean end.
    pieces: mpsc::Sender<Option<Bytes>>,
    patience: Duration,
}

/// The end that takes.
pub struct TeeReader {
    head: oneshot::Receiver<(u16, Headers)>,
    pieces: mpsc::Receiver<Option<Bytes>>,
}

/// What the reader gets next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TeeItem {
    /// Bytes.
    Piece(Bytes),
    /// The provider's own end.
    End,
    /// There is no more, and it is not whole.
    Broken,
}

impl Tap {
    /// Both ends. A reader who takes nothing for `patience` loses the rest.
    #[must_use]
    pub fn new(patience: Duration) -> (Tap, TeeReader) {
        let ((head, told), (sender, pieces)) = (oneshot::channel(), mpsc::channel(PIECES_MAX));
        (Tap { head, flow: Flow { pieces: sender, patience } }, TeeReader { head: told, pieces })
    }

    pub(super) fn told(self, status: u16, headers: &Headers) -> Flow {
        // A reader that is gone needs no head.
        let _ = self.head.send((status, passthrough::answered(headers)));
        self.flow
    }
}

impl Flow {
    /// A place for one piece, or `None` when nobody takes any more. Cancel-safe.
    pub(super) async fn room(&self) -> Option<mpsc::Permit<'_, Option<Bytes>>> {
        tokio::time::timeout(self.patience, self.pieces.reserve()).await.ok()?.ok()
    }
}

impl TeeReader {
    /// The status of the reply and the headers that clients read; `None` if there is none.
    pub async fn head(&mut self) -> Option<(u16, Headers)> {
        (&mut self.head).await.ok()
    }

    /// What comes next. Cancel-safe.
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
        let room = flow.room().await;
        room.map(|room| room.send(piece)).is_some()
    }

    #[tokio::test]
    async fn the_reader_gets_the_head_then_every_piece_then_how_it_ended() {
        for (ends, last) in [(true, TeeItem::End), (false, TeeItem::Broken)] {
            let (tap, mut tapped) = Tap::new(PATIENCE);
            let headers = [("content-type", "a/b"), ("set-cookie", "a=b")];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let flow = tap.told(203, &headers.into_iter().collect());
            let (status, told) = tapped.head().await.unwrap();
            assert_eq!((status, told.len()), (203, 1), "only what clients read");
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
        let flow = tap.told(200, &Headers::new());
        for _ in 0..PIECES_MAX {
            assert!(give(&flow, Some("a".into())).await);
        }
        let began = tokio::time::Instant::now();
        assert!(!give(&flow, Some("b".into())).await);
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
        assert_eq!(tapped.next().await, TeeItem::Piece("a".into()), "what it was given it has");
        drop(tapped);
        assert!(!give(&flow, Some("b".into())).await, "and nobody gets nothing");
    }
}
