//! A future that is completed even if it is dropped.
//!
//! It runs where it is awaited, so that the usual case costs no task and no other thread; dropped before
//! its end, it continues as a task of its own. The caller decides what a panic means.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

/// A future that continues on the runtime when it is dropped. Resolves to `None` if it panicked.
pub(super) struct CompleteOnDrop<T: Send + 'static> {
    work: Option<BoxFuture<'static, Option<T>>>,
    runtime: Handle,
}

impl<T: Send + 'static> CompleteOnDrop<T> {
    pub(super) fn new(runtime: &Handle, work: impl Future<Output = T> + Send + 'static) -> CompleteOnDrop<T> {
        let work = AssertUnwindSafe(work).catch_unwind().map(Result::ok).boxed();
        CompleteOnDrop { work: Some(work), runtime: runtime.clone() }
    }
}

impl<T: Send + 'static> Future for CompleteOnDrop<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        let polled = work.poll_unpin(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for CompleteOnDrop<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn what_nobody_waits_for_is_done_all_the_same() {
        let (begin, begun) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let work = async move {
            let _ = begun.await;
            done.send(7).is_ok()
        };
        let mut carried = CompleteOnDrop::new(&Handle::current(), work);
        assert!(futures_util::poll!(&mut carried).is_pending());
        drop(carried);
        begin.send(()).unwrap();
        assert_eq!(is_done.await, Ok(7));
    }

    #[tokio::test]
    async fn what_is_waited_for_is_done_here_and_a_panic_is_told() {
        assert_eq!(CompleteOnDrop::new(&Handle::current(), async { 7 }).await, Some(7));
        let panics = async {
            assert!(std::hint::black_box(false), "as a bug would");
        };
        assert_eq!(CompleteOnDrop::new(&Handle::current(), panics).await, None);
    }
}
