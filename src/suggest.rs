//! "Did you mean": what to say about a name that nobody knows.

/// Names this alike, by Jaro and Winkler, are worth a suggestion.
const ALIKE: f64 = 0.75;
/// A list this short is shown whole when nothing in it is alike.
const SHORT: usize = 12;

/// The end of the sentence "there is no fix `x`": the nearest names, or all of a short list.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let mut near: Vec<(f64, &str)> = known
        .iter()
        .filter_map(|it| Some((likeness(name, it)?, *it)))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.truncate(3);
    if !near.is_empty() {
        let near: Vec<&str> = near.into_iter().map(|(_, it)| it).collect();
        return format!("; did you mean {}?", quoted(&near, " or "));
    }
    match known.len() {
        0 => "; there are none".to_string(),
        1..=SHORT => format!("; there is {}", quoted(&known, ", ")),
        many => format!("; there are {many}, see `shootdown list`"),
    }
}

/// How alike two names are, if they are: by Jaro and Winkler, or one slip of the finger apart,
/// which is what short ids need.
fn likeness(a: &str, b: &str) -> Option<f64> {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let alike = strsim::jaro_winkler(&a, &b);
    let slip = strsim::osa_distance(&a, &b) <= 1;
    (slip || alike >= ALIKE).then_some(if slip { alike.max(ALIKE) } else { alike })
}

fn quoted(names: &[&str], between: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    quoted.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first_whatever_its_case() {
        let known = ["pg-gup", "pg-gup-fast", "fast-gup", "B02"];
        assert!(hint("pg-gpu", known).starts_with("; did you mean `pg-gup`"));
        assert_eq!(hint("b02", known), "; did you mean `B02`?");
        assert_eq!(hint("B2", known), "; did you mean `B02`?");
    }

    #[test]
    fn a_short_list_is_shown_when_nothing_is_near() {
        assert_eq!(
            hint("zzz", ["timed", "random"]),
            "; there is `timed`, `random`"
        );
        assert_eq!(hint("zzz", []), "; there are none");
    }
}
