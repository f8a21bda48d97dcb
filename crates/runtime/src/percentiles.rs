//! Percentiles of small samples, by nearest rank.

/// The smallest value that at least `percent` in a hundred values do not exceed. `None` for an empty sample.
///
/// `sorted` must be in ascending order.
///
/// ```
/// use switchboard_runtime::percentiles::percentile;
///
/// assert_eq!(percentile(&[10, 20, 30, 40], 50), Some(20));
/// assert_eq!(percentile(&[10, 20, 30, 40], 95), Some(40));
/// assert_eq!(percentile::<u64>(&[], 50), None);
/// ```
#[must_use]
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_a_value_of_the_sample() {
        let sample: Vec<u64> = (1..=20).collect();
        assert_eq!(
            [0, 1, 50, 95, 100].map(|percent| percentile(&sample, percent)),
            [1, 1, 10, 19, 20].map(Some)
        );
        assert_eq!(percentile(&[7], 95), Some(7));
    }
}
