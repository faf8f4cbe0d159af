//! Prices as they stand in the catalog: a text per model, read where a cost is computed.
//!
//! `in 3|in>200000 6|in/batch 1.5|image@high/1024x1024 167000`: unit, variant behind `@`, service
//! behind `/` and a space, input tokens above which it holds behind `>`; then US dollars per million
//! units. Kept as text, 2,700 models cost no memory beyond the program's own pages.

use std::borrow::Cow;

macro_rules! names {
    ($(#[$doc:meta])* $kind:ident { $($(#[$each:meta])* $variant:ident $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $kind { $($(#[$each])* $variant,)* }

        impl $kind {
            /// The name in the catalog and in listings.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($kind::$variant => $name,)* }
            }

            /// The one of that name.
            #[must_use]
            pub fn parse(name: &str) -> Option<$kind> {
                match name { $($name => Some($kind::$variant),)* _ => None }
            }
        }
    };
}

names! {
    /// What is counted and paid for. A factor (`x_…`) multiplies what tokens cost.
    Unit {
        /// Input tokens of a request.
        Input "in",
        /// Output tokens of an answer.
        Output "out",
        /// Input tokens read from the provider's cache.
        Cached "cached",
        /// Input tokens read from a cache that an explicit call made.
        CachedExplicit "cached_explicit",
        /// Input tokens written to the provider's cache for minutes.
        Write "write",
        /// Input tokens written to a cache for an hour.
        Write1h "write_1h",
        /// Input tokens written to a cache for half a day and longer.
        Write12h "write_12h",
        /// Output tokens spent on reasoning, where they cost something else.
        Reasoning "reasoning",
        /// Tokens of sources that an answer cites.
        Citation "citation",
        /// Input tokens that are audio.
        AudioIn "audio_in",
        /// Output tokens that are audio.
        AudioOut "audio_out",
        /// Audio tokens read from the cache.
        AudioCached "audio_cached",
        /// Audio tokens written to the cache.
        AudioWrite "audio_write",
        /// Input tokens that are images.
        ImageTokenIn "image_token_in",
        /// Output tokens that are images.
        ImageTokenOut "image_token_out",
        /// Image tokens read from the cache.
        ImageTokenCached "image_token_cached",
        /// Input tokens that are video.
        VideoTokenIn "video_token_in",
        /// Output tokens that are video.
        VideoTokenOut "video_token_out",
        /// Requests that are made.
        Request "request",
        /// Text messages of a voice session.
        Message "message",
        /// Queries of a rerank.
        Query "query",
        /// Searches of the web.
        Search "search",
        /// Searches that use maps.
        Maps "maps",
        /// Images that come out.
        Image "image",
        /// Images that go in.
        ImageIn "image_in",
        /// Pixels that come out.
        Pixel "pixel",
        /// Seconds that come out.
        Second "second",
        /// Seconds that go in.
        SecondIn "second_in",
        /// Seconds of video that go in.
        VideoSecondIn "video_second_in",
        /// Seconds of audio that go in.
        AudioSecondIn "audio_second_in",
        /// Characters that go in.
        Character "character",
        /// Characters that come out.
        CharacterOut "character_out",
        /// Factor for one region instead of all.
        XRegional "x_regional",
        /// Factor for the United States only.
        XUs "x_us",
        /// Factor for Europe only.
        XEu "x_eu",
        /// Factor for fast mode.
        XFast "x_fast",
    }
}

impl Unit {
    /// Whether it multiplies what tokens cost.
    #[must_use]
    pub fn is_factor(self) -> bool {
        matches!(self, Unit::XUs | Unit::XEu | Unit::XRegional | Unit::XFast)
    }

    /// Whether it is some kind of token.
    #[must_use]
    pub fn is_of_tokens(self) -> bool {
        let is_counted_otherwise = matches!(
            self,
            Unit::Request
                | Unit::Query
                | Unit::Search
                | Unit::Maps
                | Unit::Message
                | Unit::Image
                | Unit::ImageIn
                | Unit::Pixel
                | Unit::Second
                | Unit::SecondIn
                | Unit::VideoSecondIn
                | Unit::AudioSecondIn
                | Unit::Character
                | Unit::CharacterOut
        );
        !is_counted_otherwise && !self.is_factor()
    }
}

names! {
    /// How a provider serves a request.
    Service {
        /// The request is served as usual.
        Standard "",
        /// The request is served hours later.
        Batch "batch",
        /// The request is served when there is capacity.
        Flex "flex",
        /// The request is served before others.
        Priority "priority",
        /// The request is served faster than with priority.
        Ultrafast "ultrafast",
        /// The answer is yes or no only.
        Decisions "decisions",
        /// At hours when the provider has room ([`Prices::off_peak`]).
        OffPeak "off_peak",
    }
}

/// One price of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Price {
    /// Unit that is paid for.
    pub unit: Unit,
    /// Size, quality or resolution, where the price depends on it.
    pub variant: Cow<'static, str>,
    /// The service it holds for.
    pub service: Service,
    /// It holds for requests with more input tokens than this.
    pub above: u64,
    /// Pico-dollars per million units; of a factor, its millionth millionth.
    pub pico: i128,
}

/// All prices of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Prices(pub(super) &'static str);

impl Prices {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Each price, in the order of the catalog.
    pub fn iter(self) -> impl Iterator<Item = Price> {
        self.texts().filter_map(|(name, value)| price(name, value))
    }

    /// Each price as it stands: `in/batch>272000` and dollars per million units.
    pub fn texts(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.split('|').filter_map(|text| text.split_once(' ')).filter(|(name, _)| *name != HOURS)
    }

    /// Whether this hour of a week (day from Monday = 0, hour in UTC) is off the peak.
    #[must_use]
    pub fn off_peak(self, day: usize, hour: u32) -> bool {
        let hours = self.0.split('|').find_map(|text| text.strip_prefix(HOURS)?.strip_prefix(' '));
        let of_day = hours.and_then(|hours| u32::from_str_radix(hours.split('.').nth(day)?, 16).ok());
        of_day.is_some_and(|of_day| of_day >> hour & 1 == 1)
    }
}

/// Seven sets of hours, a bit an hour, Monday first.
const HOURS: &str = "off_peak_hours";

fn price(name: &'static str, value: &str) -> Option<Price> {
    let (name, above) = name.split_once('>').map_or((name, Some(0)), |(name, above)| (name, above.parse().ok()));
    // A variant may hold slashes itself; a service stands last.
    let (name, service) = match name.rsplit_once('/') {
        Some((rest, last)) => Service::parse(last).map_or((name, Service::Standard), |service| (rest, service)),
        None => (name, Service::Standard),
    };
    let (unit, variant) = name.split_once('@').unwrap_or((name, ""));
    Some(Price { unit: Unit::parse(unit)?, variant: variant.into(), service, above: above?, pico: pico(value)? })
}

/// A decimal in millionth millionths.
fn pico(text: &str) -> Option<i128> {
    const DIGITS: usize = 12;
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let padding = u32::try_from(DIGITS.checked_sub(rest.len())?).ok()?;
    let rest: i128 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
    let whole: i128 = whole.parse().ok()?;
    whole.checked_mul(10_i128.pow(12))?.checked_add(rest.checked_mul(10_i128.checked_pow(padding)?)?)
}
