//! How prices and counts become money.
//!
//! Prices are pico-dollars per million units, products are added up exactly, and the sum is rounded
//! half up, once, to whole pico-dollars. The rules, which are those of the vendors in the catalog:
//!
//! * A price above N input tokens holds for the whole request when its input is longer than N.
//! * Cached, written, audio and image tokens are parts of the counts: each token is paid for once.
//! * Reasoning is a part of the output, paid at its own price where there is one.
//! * What a service (batch, flex, priority) has no price for is taken at the standard one, and the
//!   cost is then not `priced`.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::price::Sale;
use crate::catalog;
use crate::catalog::{Price, Service, Unit};
use crate::job::{Cost, Task, Usage, Usd};

const MILLION: i128 = 1_000_000;

/// How a price is filled in that is not named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gaps {
    /// The price of the next larger thing holds: cached tokens as input, reasoning as output. For prices that an
    /// operator wrote: the configuration's reference says so.
    AsTheNext,
    /// The price is unknown, where it could be another.
    Unknown,
}

/// The prices that may hold for one attempt.
pub(super) struct Tariff<'a> {
    prices: &'a [Price],
    gaps: Gaps,
    sale: &'a Sale<'a>,
    fields: PricedFields<'a>,
    service: Service,
    above: u64,
    /// Whether the prices for quiet hours hold.
    pub(super) off_peak: bool,
}

/// The facts of a job's input on which a price may depend.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PricedFields<'a> {
    #[serde(borrow)]
    service_tier: Option<&'a RawValue>,
    #[serde(borrow)]
    speed: Option<&'a RawValue>,
    #[serde(borrow)]
    inference_geo: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_cache_retention: Option<&'a RawValue>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    #[serde(borrow)]
    quality: Option<&'a RawValue>,
    #[serde(borrow)]
    resolution: Option<&'a RawValue>,
}

fn text(fields: Option<&RawValue>) -> &str {
    fields.map_or("", |value| value.get().trim_matches('"'))
}

/// A price, and whether it is the exact one.
#[derive(Clone, Copy)]
struct Rate {
    pico: i128,
    sure: bool,
}

impl<'a> Tariff<'a> {
    pub(super) fn new(prices: &'a [Price], gaps: Gaps, sale: &'a Sale<'a>) -> Tariff<'a> {
        // Most prices do not depend on the job's input; then it is not read.
        let reads =
            |price: &Price| price.service != Service::Standard || !price.variant.is_empty() || price.unit.is_factor();
        let depends = gaps == Gaps::Unknown && prices.iter().any(reads);
        let input = sale.job.input.get();
        let fields = if depends { serde_json::from_str(input).unwrap_or_default() } else { PricedFields::default() };
        let mut tariff = Tariff { prices, gaps, sale, fields, service: Service::Standard, above: 0, off_peak: false };
        tariff.service = tariff.service();
        let length = sale.usage.input_tokens.unwrap_or(0);
        let steps = prices.iter().filter(|price| price.service == tariff.service || price.service == Service::Standard);
        tariff.above = steps.map(|price| price.above).filter(|above| *above < length).max().unwrap_or(0);
        tariff
    }

    /// Returns the service that was given, as far as prices know services.
    fn service(&self) -> Service {
        if self.gaps == Gaps::AsTheNext {
            return Service::Standard;
        }
        let word = self.sale.bill.service_tier.as_deref().unwrap_or_else(|| text(self.fields.service_tier));
        ["priority", "flex", "batch", "ultrafast"]
            .into_iter()
            .find(|known| word.eq_ignore_ascii_case(known))
            .and_then(Service::parse)
            .unwrap_or(Service::Standard)
    }

    pub(super) fn cost(&self) -> Cost {
        let usage = self.sale.usage;
        let (mut tokens, mut others) = (Tally::default(), Tally::default());
        if self.has(Unit::Request) {
            others.add(self.rate(Unit::Request), usage.requests.or(Some(1)));
        }
        others.add(self.rate(Unit::Search), Some(self.sale.bill.searches.unwrap_or(0)));
        match self.basis() {
            Basis::Included => {}
            Basis::Tokens => self.tokens(&mut tokens),
            Basis::Counted(rate, count) => others.add(rate, count),
        }
        // Sources that an answer cites are tokens that no provider reports.
        // Such a provider reports the cost of an answer; where that is missing, its fee is unknown.
        let has_fee = self.gaps == Gaps::Unknown && catalog::has_unlisted_fee(self.sale.kind);
        let uncounted = has_fee || self.has(Unit::Citation);
        let total = self.multiply(tokens.total, &mut tokens.incomplete).saturating_add(others.total);
        let priced = !tokens.incomplete && !others.incomplete && !uncounted;
        Cost { usd: Usd::from_pico(total.saturating_add(MILLION / 2) / MILLION), priced }
    }

    /// Returns what the task is billed by.
    fn basis(&self) -> Basis {
        let usage = self.sale.usage;
        let by_tokens = self.has(Unit::Input) || self.has(Unit::Output) || self.has(Unit::ImageTokenOut);
        let has_tokens = usage.input_tokens.is_some() || usage.output_tokens.is_some();
        let counted = |unit, count| Basis::Counted(self.rate_of_variant(unit), count);
        match self.sale.job.task {
            Task::Rerank if self.has(Unit::Query) => counted(Unit::Query, usage.requests.or(Some(1))),
            // A price per request and none per token means that tokens are included.
            _ if self.has(Unit::Request) && !by_tokens => Basis::Included,
            Task::Image | Task::Video | Task::Speech | Task::Transcription | Task::Music if by_tokens && has_tokens => {
                Basis::Tokens
            }
            Task::Image if self.has(Unit::Image) => counted(Unit::Image, usage.images),
            Task::Music if self.has(Unit::Image) => counted(Unit::Image, usage.requests.or(Some(1))),
            Task::Video if self.has(Unit::Second) => {
                Basis::of_seconds(self.rate_of_variant(Unit::Second), usage.video_seconds)
            }
            Task::Speech if self.has(Unit::Character) => counted(Unit::Character, usage.characters),
            Task::Transcription if self.has(Unit::SecondIn) => {
                Basis::of_seconds(self.rate(Unit::SecondIn), usage.audio_seconds)
            }
            Task::Speech | Task::Transcription | Task::Music if self.has(Unit::Second) => {
                Basis::of_seconds(self.rate(Unit::Second), usage.audio_seconds)
            }
            _ => Basis::Tokens,
        }
    }

    fn tokens(&self, sum: &mut Tally) {
        self.add_input(sum);
        let Some(all) = self.sale.usage.output_tokens else {
            if makes_tokens(self.sale.job.task) {
                sum.add(self.rate(Unit::Output), None);
            }
            return;
        };
        let parts = OutputParts::of(self.sale, all);
        let reasoning = self.rate(Unit::Reasoning);
        let (apart, text) =
            if reasoning.is_some() { (parts.reasoning, parts.text - parts.reasoning) } else { (0, parts.text) };
        sum.add(self.rate(Unit::Output), Some(text));
        sum.add(reasoning, Some(apart));
        sum.add(self.rate(Unit::AudioOut).or(self.rate(Unit::Output)), Some(parts.audio));
        sum.add(self.rate(Unit::ImageTokenOut).or(self.rate(Unit::Output)), Some(parts.image));
    }

    fn add_input(&self, sum: &mut Tally) {
        let Some(all) = self.sale.usage.input_tokens else {
            sum.add(self.rate(Unit::Input), None);
            return;
        };
        let parts = InputParts::of(self.sale, all);
        let input = self.rate(Unit::Input);
        let cached = self.rate(Unit::Cached).or_else(|| input.filter(|_| self.gaps == Gaps::AsTheNext));
        sum.add(input, Some(parts.text));
        sum.add(cached, Some(parts.cached_text));
        sum.add(self.rate(Unit::AudioIn).or(input), Some(parts.audio));
        sum.add(self.rate(Unit::AudioCached).or(cached), Some(parts.cached_audio));
        sum.add(self.rate(Unit::ImageTokenIn).or(input), Some(parts.image));
        sum.add(self.rate(Unit::ImageTokenCached).or(cached), Some(parts.cached_image));
        // A vendor without a price for writing to a cache bills it as the input that it is.
        let write = self.rate(Unit::Write).or(input);
        let is_long = text(self.fields.prompt_cache_retention) == "24h";
        let minutes = if is_long { self.rate(Unit::Write12h).or(write) } else { write };
        sum.add(minutes, Some(parts.written));
        let guess = write.map(|rate| Rate { sure: self.gaps == Gaps::AsTheNext, ..rate });
        sum.add(self.rate(Unit::Write1h).or(guess), Some(parts.written_1h));
    }

    /// Multiplies tokens with the factors that hold.
    fn multiply(&self, total: i128, incomplete: &mut bool) -> i128 {
        // A factor has twelve decimals, of which three are meant.
        const MILLI: i128 = 1_000_000_000;
        let region = self.sale.region.unwrap_or("");
        let is_us = region == "us" || text(self.fields.inference_geo) == "us";
        let mut total = total;
        for (unit, holds) in [
            (Unit::XUs, is_us),
            (Unit::XEu, region == "eu"),
            (Unit::XRegional, !matches!(region, "" | "global")),
            (Unit::XFast, text(self.fields.speed) == "fast"),
        ] {
            if holds && let Some(rate) = self.rate(unit) {
                total = total.saturating_mul(rate.pico / MILLI) / 1000;
            }
        }
        *incomplete |= text(self.fields.speed) == "fast" && !self.has(Unit::XFast);
        total
    }

    fn has(&self, unit: Unit) -> bool {
        self.prices.iter().any(|price| price.unit == unit)
    }

    fn rate(&self, unit: Unit) -> Option<Rate> {
        let of = |service, above| {
            let holds = |price: &&Price| {
                price.unit == unit && price.service == service && price.above == above && price.variant.is_empty()
            };
            self.prices.iter().find(holds).map(|price| price.pico)
        };
        if self.off_peak
            && let Some(pico) = of(Service::OffPeak, 0)
        {
            return Some(Rate { pico, sure: true });
        }
        if let Some(pico) = of(self.service, self.above) {
            return Some(Rate { pico, sure: true });
        }
        let next = [(Service::Standard, self.above), (self.service, 0), (Service::Standard, 0)];
        let pico = next.into_iter().find_map(|(service, above)| of(service, above))?;
        let varies = !unit.is_of_tokens();
        Some(Rate { pico, sure: varies || self.gaps == Gaps::AsTheNext })
    }

    /// Returns the price for the size, quality or resolution that the job names.
    fn rate_of_variant(&self, unit: Unit) -> Option<Rate> {
        let (size, quality, resolution) =
            (text(self.fields.size), text(self.fields.quality), text(self.fields.resolution));
        let lines = size
            .split_once('x')
            .and_then(|(across, down)| Some(format!("{}p", across.parse::<u32>().ok()?.min(down.parse().ok()?))));
        let says = |part: &str| {
            let words = [size, quality, resolution, lines.as_deref().unwrap_or("")];
            words.iter().any(|word| word.eq_ignore_ascii_case(part))
        };
        let fits =
            |price: &&Price| price.unit == unit && (price.variant.is_empty() || price.variant.split('/').all(says));
        let chosen = self.prices.iter().filter(fits).max_by_key(|price| price.variant.len())?;
        Some(Rate { pico: chosen.pico, sure: true })
    }
}

/// What an answer is billed by.
enum Basis {
    /// The answer is included in the request's price.
    Included,
    /// The answer is billed by its tokens.
    Tokens,
    /// The answer is billed by so many units of another kind.
    Counted(Option<Rate>, Option<u64>),
}

impl Basis {
    /// Makes a count of seconds, in millionths.
    fn of_seconds(rate: Option<Rate>, seconds: Option<f64>) -> Basis {
        let rate = rate.map(|rate| Rate { pico: rate.pico / MILLION, ..rate });
        Basis::Counted(rate, seconds.map(|seconds| (seconds * 1e6).round() as u64))
    }
}

/// Input tokens, each in one part. Providers do not say which tokens were cached; text comes first.
/// What is transcribed is audio, unless a count of it is reported.
struct InputParts {
    text: u64,
    cached_text: u64,
    audio: u64,
    cached_audio: u64,
    image: u64,
    cached_image: u64,
    written: u64,
    written_1h: u64,
}

impl InputParts {
    fn of(sale: &Sale<'_>, all: u64) -> InputParts {
        let Usage { cached_input_tokens, cache_write_tokens, audio_input_tokens, .. } = *sale.usage;
        let cached = cached_input_tokens.unwrap_or(0).min(all);
        let written = cache_write_tokens.unwrap_or(0).min(all - cached);
        let written_1h = sale.bill.cache_write_1h_tokens.unwrap_or(0).min(written);
        let rest = all - written;
        let is_heard = sale.job.task == Task::Transcription;
        let audio = audio_input_tokens.unwrap_or(if is_heard { rest } else { 0 }).min(rest);
        let image = sale.bill.image_input_tokens.unwrap_or(0).min(rest - audio);
        let text = rest - audio - image;
        let cached_text = cached.min(text);
        let cached_audio = (cached - cached_text).min(audio);
        let cached_image = (cached - cached_text - cached_audio).min(image);
        InputParts {
            text: text - cached_text,
            cached_text,
            audio: audio - cached_audio,
            cached_audio,
            image: image - cached_image,
            cached_image,
            written: written - written_1h,
            written_1h,
        }
    }
}

/// Output tokens; reasoning is a part of the text. What speaks or paints makes no text, unless a
/// count of it is reported.
struct OutputParts {
    text: u64,
    reasoning: u64,
    audio: u64,
    image: u64,
}

impl OutputParts {
    fn of(sale: &Sale<'_>, all: u64) -> OutputParts {
        let all_of = |task: Task| if sale.job.task == task { all } else { 0 };
        let audio = sale.usage.audio_output_tokens.unwrap_or(all_of(Task::Speech)).min(all);
        let image = sale.bill.image_output_tokens.unwrap_or(all_of(Task::Image)).min(all - audio);
        let text = all - audio - image;
        OutputParts { text, reasoning: sale.usage.reasoning_tokens.unwrap_or(0).min(text), audio, image }
    }
}

/// Whether an answer to this task consists of output tokens, so that their absence is a gap.
fn makes_tokens(task: Task) -> bool {
    match task {
        Task::Chat | Task::Prediction => true,
        Task::Embedding
        | Task::Image
        | Task::Speech
        | Task::Transcription
        | Task::Video
        | Task::Music
        | Task::Rerank
        | Task::Moderation => false,
    }
}

/// A sum of products in pico-dollars per million, and whether a factor was missing.
#[derive(Default)]
struct Tally {
    total: i128,
    incomplete: bool,
}

impl Tally {
    fn add(&mut self, rate: Option<Rate>, count: Option<u64>) {
        match (rate, count) {
            (_, Some(0)) => {}
            (Some(Rate { pico: 0, sure }), _) => self.incomplete |= !sure,
            (Some(Rate { pico, sure }), Some(count)) => {
                self.total = self.total.saturating_add(pico.saturating_mul(i128::from(count)));
                self.incomplete |= !sure;
            }
            _ => self.incomplete = true,
        }
    }
}

#[cfg(test)]
#[path = "tariff_tests.rs"]
mod tests;
