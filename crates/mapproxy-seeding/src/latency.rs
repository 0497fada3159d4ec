//! How long something took, in a few numbers however often it happened.

use std::time::Duration;

/// Times counted in steps of a fifth, from a tenth of a millisecond to half an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    counts: Vec<u64>,
}

const STEPS: usize = 96;
const FIRST: f64 = 1e-4;
const FACTOR: f64 = 1.2;

impl Default for Latency {
    fn default() -> Self {
        Latency { counts: vec![0; STEPS] }
    }
}

impl Latency {
    /// Counts one more.
    pub fn note(&mut self, time: Duration) {
        let step = (time.as_secs_f64() / FIRST).max(1.0).log(FACTOR) as usize;
        self.counts[step.min(STEPS - 1)] += 1;
    }

    /// The time that a part of all (0 to 1) has not exceeded; `None` where nothing was counted.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let all: u64 = self.counts.iter().sum();
        let wanted = ((all as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_secs_f64(FIRST * FACTOR.powf(step as f64 + 0.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_tenth() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for millis in 1..=1000 {
            latency.note(Duration::from_millis(millis));
        }
        for (part, expected) in [(0.5, 0.5), (0.95, 0.95)] {
            let found = latency.quantile(part).unwrap().as_secs_f64();
            assert!((found / expected - 1.0).abs() < 0.11, "{found} for {expected}");
        }
        latency.note(Duration::from_secs(100_000));
        latency.note(Duration::ZERO);
        assert!(latency.quantile(1.0).unwrap() > Duration::from_secs(1800));
    }
}
