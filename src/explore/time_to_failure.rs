//! How long it takes to fail, in simulated time, and how sure that is.
//!
//! The question is that of somebody who runs the program again and again until it fails. Each run
//! is watched until its first violation or, if it is clean, until its end. With `r` violations in
//! a time `T` of watching, the rate is `r / T` and the mean time to failure `T / r`. The interval
//! takes failures for a Poisson process, so that times are exponential: the rate lies between
//! `chi2(2.5 %; 2r) / 2T` and `chi2(97.5 %; 2r + 2) / 2T`, the usual limits when watching ends by
//! time. Where most runs fail it is wider than need be. The share of runs that fail has Wilson's
//! score interval, which assumes nothing of the times.

use std::fmt;

use serde::Serialize;

/// From, and to; `None` is no limit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Interval(pub f64, pub Option<f64>);

/// How long it takes to fail, over the runs of an exploration.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TimeToFailure {
    /// Runs.
    pub runs: u64,
    /// Runs with a violation.
    pub failures: u64,
    /// Simulated seconds that were watched.
    pub simulated_seconds: f64,
    /// Failures a simulated second.
    pub per_second: f64,
    /// With 95 % confidence.
    pub per_second_95: Interval,
    /// Mean simulated seconds to failure; none without a failure.
    pub mean_seconds: Option<f64>,
    /// With 95 % confidence.
    pub mean_seconds_95: Interval,
    /// The share of runs that fail.
    pub share: f64,
    /// With 95 % confidence.
    pub share_95: Interval,
    /// How the intervals were made.
    pub method: &'static str,
}

const METHOD: &str = "rate and mean: exponential, chi-square on 2r and 2r+2 degrees of freedom; \
                      share: Wilson's score";
/// The 97.5th percentile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

impl TimeToFailure {
    pub(super) fn of(runs: u64, failures: u64, cycles: u64, hz: u64) -> TimeToFailure {
        // A program that fails before the first cycle still took one.
        let seconds = cycles.max(1) as f64 / hz as f64;
        let low = poisson_low(failures) / seconds;
        let high = poisson_high(failures) / seconds;
        let (runs_f, failures_f) = (runs.max(1) as f64, failures as f64);
        TimeToFailure {
            runs,
            failures,
            simulated_seconds: seconds,
            per_second: failures_f / seconds,
            per_second_95: Interval(low, Some(high)),
            mean_seconds: (failures > 0).then(|| seconds / failures_f),
            mean_seconds_95: Interval(1.0 / high, (failures > 0).then(|| 1.0 / low)),
            share: failures_f / runs_f,
            share_95: wilson(failures_f, runs_f),
            method: METHOD,
        }
    }
}

fn wilson(failures: f64, runs: f64) -> Interval {
    let share = failures / runs;
    let z2 = Z * Z / runs;
    let middle = share + z2 / 2.0;
    let half = Z * ((share * (1.0 - share) + z2 / 4.0) / runs).sqrt();
    let at = |it: f64| (it / (1.0 + z2)).clamp(0.0, 1.0);
    Interval(at(middle - half), Some(at(middle + half)))
}

/// Above this many events the quantile's approximation is as good as the sum.
const EXACT: u64 = 200;

/// The mean of which so many events or more are 2.5 % likely: half of chi2(2.5 %; 2r).
fn poisson_low(events: u64) -> f64 {
    match events {
        0 => 0.0,
        few if few <= EXACT => solve(few, |mean| 1.0 - at_most(few - 1, mean) < 0.025),
        many => wilson_hilferty(many as f64, -Z),
    }
}

/// The mean of which so many events or fewer are 2.5 % likely: half of chi2(97.5 %; 2r + 2).
fn poisson_high(events: u64) -> f64 {
    match events {
        few if few <= EXACT => solve(few, |mean| at_most(few, mean) > 0.025),
        many => wilson_hilferty(many as f64 + 1.0, Z),
    }
}

/// The probability of at most so many events.
fn at_most(events: u64, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for event in 1..=events {
        term *= mean / event as f64;
        sum += term;
    }
    sum
}

/// Where `below` stops to hold, by halving.
fn solve(events: u64, below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 2.0 * events as f64 + 20.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Half the quantile of chi-square with `2 shape` degrees of freedom (Wilson and Hilferty).
fn wilson_hilferty(shape: f64, z: f64) -> f64 {
    let ninth = 1.0 / (9.0 * shape);
    shape * (1.0 - ninth + z * ninth.sqrt()).powi(3)
}

/// A time in the unit that suits it.
fn time(seconds: f64) -> String {
    match seconds {
        3600.0.. => format!("{:.3} h", seconds / 3600.0),
        1.0.. => format!("{seconds:.3} s"),
        0.001.. => format!("{:.3} ms", seconds * 1e3),
        _ => format!("{:.3} us", seconds * 1e6),
    }
}

impl fmt::Display for TimeToFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval(low, high) = self.mean_seconds_95;
        let mean = match (self.mean_seconds, high) {
            (Some(mean), Some(high)) => {
                format!(
                    "mean {} (95 %: {} to {})",
                    time(mean),
                    time(low),
                    time(high)
                )
            }
            _ => format!("more than {} (95 %)", time(low)),
        };
        let Interval(least, most) = self.share_95;
        writeln!(
            f,
            "time to failure: {mean}; {:.4} failures a simulated second; {:.2} % of runs fail \
             (95 %: {:.2} % to {:.2} %), {} watched",
            self.per_second,
            self.share * 100.0,
            least * 100.0,
            most.unwrap_or(1.0) * 100.0,
            time(self.simulated_seconds),
        )?;
        writeln!(f, "  ({})", self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-3 * b.abs().max(1.0)
    }

    /// Halves of tabulated chi-square quantiles.
    #[test]
    fn the_limits_are_those_of_the_tables() {
        for (events, low, high) in [
            (0, 0.0, 3.688_9),
            (1, 0.025_318, 5.571_6),
            (2, 0.242_21, 7.224_7),
            (10, 4.795_4, 18.390_4),
            (100, 81.364, 121.627),
            (200, 173.24, 229.72),
        ] {
            assert!(
                near(poisson_low(events), low),
                "{events}: {}",
                poisson_low(events)
            );
            assert!(
                near(poisson_high(events), high),
                "{events}: {}",
                poisson_high(events)
            );
        }
    }

    #[test]
    fn the_approximation_takes_over_without_a_step() {
        let exact = solve(EXACT, |mean| at_most(EXACT, mean) > 0.025);
        assert!(near(wilson_hilferty(EXACT as f64 + 1.0, Z), exact));
        assert!(poisson_high(EXACT) < poisson_high(EXACT + 1));
        assert!(poisson_low(EXACT) < poisson_low(EXACT + 1));
    }

    #[test]
    fn a_share_of_nothing_or_all_has_an_interval() {
        assert!(near(wilson(0.0, 100.0).0, 0.0));
        assert!(near(wilson(0.0, 100.0).1.expect("bounded"), 0.036_99));
        assert!(near(wilson(50.0, 100.0).0, 0.403_8));
        assert!(near(wilson(100.0, 100.0).1.expect("bounded"), 1.0));
    }

    #[test]
    fn without_a_failure_only_a_least_time_is_known() {
        let it = TimeToFailure::of(10, 0, 1000, 100);
        assert_eq!((it.mean_seconds, it.mean_seconds_95.1), (None, None));
        assert!(near(it.mean_seconds_95.0, 10.0 / 3.688_9));
    }
}
