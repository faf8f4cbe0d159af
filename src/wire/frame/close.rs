//! Close codes, and what a client makes of them.

macro_rules! closes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $reason:literal;)*) => {
        /// Why a socket is closed.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Close {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Close {
            /// All close reasons, for clients that look one up by its code.
            pub const ALL: &'static [Close] = &[$(Close::$variant,)*];

            /// The reason that goes with the code: at most 123 bytes.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Close::$variant => $reason,)* }
            }
        }
    };
}

closes! {
    /// The socket has done what it was opened for.
    Normal = 1000, "done";
    /// The broker is gone for good.
    GoingAway = 1001, "going away; resume with the same cursors";
    /// The client sent what is no WebSocket frame.
    Protocol = 1002, "not the WebSocket protocol";
    /// A text message that is not UTF-8.
    NotUtf8 = 1007, "a text message must be UTF-8";
    /// A message over the limit.
    TooLarge = 1009, "the message is too large";
    /// The broker has a bug.
    Internal = 1011, "internal error";
    /// The broker is restarting.
    Restart = 1012, "restarting; resume with the same cursors";
    /// The broker is full.
    Overloaded = 1013, "overloaded; come back later";
    /// The client did not read.
    Stalled = 4100, "the socket took no data for too long; resume with the same cursors";
    /// The client answers no ping.
    NoPong = 4101, "no pong; resume with the same cursors";
    /// The client sent what is no message of this protocol.
    BadMessage = 4400, "bad message";
    /// The client presented no key, or an unknown one.
    Unauthenticated = 4401, "unauthenticated";
    /// The key may do nothing here.
    Forbidden = 4403, "forbidden";
    /// Text where MessagePack was agreed, or the other way round.
    Subprotocol = 4406, "not the agreed subprotocol";
    /// The client sent no `hello` in time.
    HelloTimeout = 4408, "no hello in time";
    /// The client sent too many messages or subscribed too often.
    Abuse = 4429, "too many messages or subscriptions";
}

impl Close {
    /// Code that the close frame carries.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// Whether a client should come back unchanged.
    #[must_use]
    pub fn may_retry(code: u16) -> bool {
        !matches!(code, 1002 | 1007 | 1009 | 4400..=4499)
    }
}
