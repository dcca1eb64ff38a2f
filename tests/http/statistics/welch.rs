//! Whether two sets of times differ: Welch's t over all times, and over those below a percentile of both, where the
//! machine's own hiccups are left out, as dudect does it (Reparaz, Balasch and Verbauwhede, "Dude, is my code constant
//! time?", 2017).

/// From this |t| on two sets count as told apart.
pub(super) const TOLD_APART: f64 = 4.5;
/// The share of all times that each cropping leaves in.
const CROPPINGS: [f64; 9] = [1.0, 0.999, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1];
/// Where a set has fewer times left the cropping says nothing.
const MIN_TIMES: usize = 20;

/// Two sets compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    /// t over all times.
    pub(super) of_all: f64,
    /// The t of the greatest amount over all croppings.
    pub(super) worst: f64,
    /// The share of the times by which that came out.
    pub(super) cropping: f64,
}

impl Comparison {
    pub(super) fn is_told_apart(&self) -> bool {
        self.worst.abs() >= TOLD_APART
    }
}

/// Compares two sets of times.
pub(super) fn compare(first: &[f64], second: &[f64]) -> Comparison {
    let of_all = welch(first, second);
    let mut both = [first, second].concat();
    both.sort_unstable_by(f64::total_cmp);
    let mut worst = Comparison { of_all, worst: of_all, cropping: 1.0 };
    for cropping in CROPPINGS {
        let most = percentile(&both, cropping);
        let cropped =
            [first, second].map(|times| times.iter().copied().filter(|time| *time <= most).collect::<Vec<_>>());
        if cropped.iter().any(|times| times.len() < MIN_TIMES) {
            continue;
        }
        let t = welch(&cropped[0], &cropped[1]);
        if t.abs() > worst.worst.abs() {
            worst = Comparison { of_all, worst: t, cropping };
        }
    }
    worst
}

/// The least delay by which the two would have been told apart, whichever of them had it.
pub(super) fn least_delay_told(first: &[f64], second: &[f64]) -> f64 {
    least_delay_of(first, second).max(least_delay_of(second, first))
}

fn least_delay_of(late: &[f64], other: &[f64]) -> f64 {
    let is_told = |delay: f64| {
        let delayed: Vec<f64> = late.iter().map(|time| time + delay).collect();
        let found = compare(&delayed, other);
        found.is_told_apart() && found.worst > 0.0
    };
    let mut most = 1e-7;
    while !is_told(most) && most < 1.0 {
        most *= 2.0;
    }
    let mut least = 0.0;
    for _ in 0..12 {
        let middle = f64::midpoint(least, most);
        if is_told(middle) {
            most = middle;
        } else {
            least = middle;
        }
    }
    most
}

/// Welch's t: the difference of the means by its standard error, of two sets whose variances may differ.
fn welch(first: &[f64], second: &[f64]) -> f64 {
    let [(one, of_one), (other, of_other)] = [first, second].map(|times| {
        let (mean, variance) = moments(times);
        (mean, variance / count(times))
    });
    (one - other) / (of_one + of_other).sqrt()
}

pub(in crate::http) fn mean(times: &[f64]) -> f64 {
    times.iter().sum::<f64>() / count(times)
}

/// Mean and sample variance.
fn moments(times: &[f64]) -> (f64, f64) {
    let mean = mean(times);
    let squares: f64 = times.iter().map(|time| (time - mean).powi(2)).sum();
    (mean, squares / (count(times) - 1.0))
}

/// The value below which this share of the sorted times lies.
pub(in crate::http) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let mut left = (count(sorted) * share).ceil();
    let mut of_share = sorted.iter();
    let mut last = f64::NAN;
    while left > 0.0
        && let Some(time) = of_share.next()
    {
        (last, left) = (*time, left - 1.0);
    }
    last
}

fn count(times: &[f64]) -> f64 {
    u32::try_from(times.len()).unwrap().into()
}

/// Times that stand for themselves: about 20 ms, with a spread of some 0.5 ms and a hiccup now and then.
fn some_times(seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 32).unwrap()) / f64::from(u32::MAX)
    };
    (0..4000)
        .map(|_| {
            let spread: f64 = (0..12).map(|_| random()).sum::<f64>() - 6.0;
            let hiccup = if random() > 0.98 { 0.03 * random() } else { 0.0 };
            0.02 + 0.0005 * spread + hiccup
        })
        .collect()
}

#[test]
fn welchs_t_of_a_known_example() {
    let first = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4];
    let second = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 30.5, 31.3];
    // By Python's statistics module.
    assert!((welch(&first, &second) - -2.949_236_837_313_106).abs() < 1e-9, "{}", welch(&first, &second));
    assert!((welch(&first, &second) + welch(&second, &first)).abs() < 1e-9);
}

#[test]
fn percentiles_are_values_of_the_set() {
    let times: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(
        [0.0, 0.01, 0.5, 0.99, 1.0].map(|share| percentile(&times, share)).map(f64::to_bits)[1..],
        [1.0, 50.0, 99.0, 100.0].map(f64::to_bits)
    );
}

#[test]
fn the_same_is_not_told_apart_and_a_small_delay_is() {
    let (first, second) = (some_times(1), some_times(2));
    let same = compare(&first, &second);
    assert!(!same.is_told_apart(), "{same:?}");
    let delay = least_delay_told(&first, &second);
    assert!((1e-5..1e-4).contains(&delay), "{delay}");
    let late: Vec<f64> = first.iter().map(|time| time + 2.0 * delay).collect();
    assert!(compare(&late, &second).is_told_apart());
    // Hiccups hide it where nothing is cropped: that is what the croppings are for.
    assert!(compare(&late, &second).of_all.abs() < TOLD_APART);
}
