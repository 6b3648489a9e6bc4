//! Comparing two groups of agents by rank, where the agent is the unit: one value each, however many samples it
//! was made from, so that autocorrelation within an agent is harmless.

use statrs::function::erf::erfc;

/// Up to this many values in both groups together the null distribution is enumerated.
const EXACT_MAX: usize = 40;

/// The chance, were both groups alike, of `xs` ranking at least as high among `ys` as they do (Mann and Whitney
/// 1947). Exact for small groups, ties included; else the normal approximation with corrections for ties and
/// continuity. 1 where a group is empty.
pub(super) fn higher(xs: &[f64], ys: &[f64]) -> f64 {
    if xs.is_empty() || ys.is_empty() {
        return 1.0;
    }
    let doubled = doubled_midranks(xs, ys);
    if doubled.len() <= EXACT_MAX { exact(&doubled, xs.len()) } else { approximate(&doubled, xs.len()) }
}

/// The middle value; the mean of the two middle ones of an even number.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[middle - 1], upper)) }
}

/// Twice the rank of each value, ties sharing their mean: whole numbers. First those of `xs`.
fn doubled_midranks(xs: &[f64], ys: &[f64]) -> Vec<usize> {
    let values: Vec<f64> = xs.iter().chain(ys).copied().collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        for &index in group {
            ranks[index] = 2 * start + group.len() + 1;
        }
        start += group.len();
    }
    ranks
}

/// Counts the ways to choose as many ranks as `xs` has, by their sum.
fn exact(doubled: &[usize], chosen: usize) -> f64 {
    let seen: usize = doubled[..chosen].iter().sum();
    let total: usize = doubled.iter().sum();
    let mut ways = vec![vec![0.0_f64; total + 1]; chosen + 1];
    ways[0][0] = 1.0;
    for &rank in doubled {
        for count in (1..=chosen).rev() {
            for sum in (rank..=total).rev() {
                ways[count][sum] += ways[count - 1][sum - rank];
            }
        }
    }
    let all: f64 = ways[chosen].iter().sum();
    ways[chosen][seen..].iter().sum::<f64>() / all
}

fn approximate(doubled: &[usize], chosen: usize) -> f64 {
    let count = |n: usize| u32::try_from(n).map_or(f64::from(u32::MAX), f64::from);
    let (m, all) = (count(chosen), count(doubled.len()));
    let n = all - m;
    let seen = doubled[..chosen].iter().map(|&rank| count(rank) / 2.0).sum::<f64>() - m * (m + 1.0) / 2.0;
    let mut sorted = doubled.to_vec();
    sorted.sort_unstable();
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|group| count(group.len()).powi(3) - count(group.len())).sum();
    let variance = m * n / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (seen - m * n / 2.0 - 0.5) / variance.sqrt();
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn agrees_with_the_reference_vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/mann_whitney.json")).unwrap();
        let values = |case: &Value, key: &str| -> Vec<f64> {
            case[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let (mut exact_cases, mut approximate_cases) = (0, 0);
        for case in vectors["cases"].as_array().unwrap() {
            let (xs, ys) = (values(case, "x"), values(case, "y"));
            let doubled = doubled_midranks(&xs, &ys);
            let want = |key: &str| case["expect"][key][1].as_f64();
            if let Some(want) = want("greater/asymptotic") {
                let got = approximate(&doubled, xs.len());
                assert!((got - want).abs() < 1e-9, "case {}: {got} is not {want}", case["id"]);
                approximate_cases += 1;
            }
            let ties = doubled.iter().any(|rank| rank % 2 == 1) || {
                let mut sorted = doubled.clone();
                sorted.sort_unstable();
                sorted.windows(2).any(|w| w[0] == w[1])
            };
            if let (Some(want), false) = (want("greater/exact"), ties) {
                let got = exact(&doubled, xs.len());
                assert!((got - want).abs() < 1e-9, "case {}: {got} is not {want}", case["id"]);
                exact_cases += 1;
            }
        }
        assert!(exact_cases > 0 && approximate_cases > 0, "the vectors hold no usable case");
    }

    #[test]
    fn ties_are_no_evidence() {
        assert_eq!(higher(&[1.0; 5], &[1.0; 5]), 1.0);
        assert_eq!(higher(&[1.0; 60], &[1.0; 60]), 1.0);
        assert_eq!(higher(&[], &[1.0]), 1.0);
    }

    #[test]
    fn three_above_all_of_three_is_one_in_twenty() {
        assert!((higher(&[4.0, 5.0, 6.0], &[1.0, 2.0, 3.0]) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn the_median_of_two_is_between_them() {
        assert_eq!(median([3.0, 1.0]), Some(2.0));
        assert_eq!(median([]), None);
    }
}
