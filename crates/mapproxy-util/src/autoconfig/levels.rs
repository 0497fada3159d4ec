//! Levels of others, which need not begin with 0, as levels of a grid, which do.

/// Resolutions of all levels from 0 on, of those that are known by their numbers: tiles are found by the number of their
/// level, so that levels that are missing have to have a place, too.
pub(super) fn resolutions(levels: &[(u8, f64)]) -> Result<Vec<f64>, String> {
    let (first, first_resolution) = *levels.first().ok_or("it has no levels")?;
    let mut resolutions: Vec<f64> =
        (0..first).map(|level| first_resolution * 2_f64.powi(i32::from(first - level))).collect();
    for (level, resolution) in levels {
        while resolutions.len() < usize::from(*level) {
            let before = resolutions.last().copied().unwrap_or(*resolution);
            let missing = usize::from(*level) - resolutions.len();
            // Between two that are known, in equal steps.
            let factor = (resolution / before).powf(1.0 / (missing as f64 + 1.0));
            resolutions.push(before * factor);
        }
        if resolutions.last().is_some_and(|before| before <= resolution) {
            return Err("its levels do not become finer".to_owned());
        }
        resolutions.push(*resolution);
    }
    Ok(resolutions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_are_missing_get_a_place() {
        assert_eq!(resolutions(&[(0, 8.0), (1, 4.0)]), Ok(vec![8.0, 4.0]));
        assert_eq!(resolutions(&[(2, 8.0), (4, 2.0)]), Ok(vec![32.0, 16.0, 8.0, 4.0, 2.0]));
        assert!(resolutions(&[]).is_err() && resolutions(&[(0, 8.0), (1, 8.0)]).is_err());
        assert!(resolutions(&[(1, 8.0), (1, 4.0), (0, 2.0)]).is_ok_and(|found| found.len() == 4));
    }
}
