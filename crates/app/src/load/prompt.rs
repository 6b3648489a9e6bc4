//! Prompts of a given length. A word is about a token.

const WORDS: [&str; 24] = [
    "check", "the", "latest", "report", "of", "each", "service", "and", "say", "which", "one", "needs", "care",
    "first", "name", "its", "owner", "cause", "cost", "risk", "next", "step", "with", "reason",
];

/// Says in words how long the answer should be: that reaches the model through every agent, while options
/// of a task reach it only through agents that pass them on.
pub(crate) fn prompt(number: u64, words: usize, answer_words: Option<usize>, chance: &mut fastrand::Rng) -> String {
    let mut text = format!("Task {number}:");
    for _ in 2..words {
        text.push(' ');
        text.push_str(chance.choice(WORDS).unwrap_or("and"));
    }
    text.push('.');
    if let Some(words) = answer_words {
        text.push_str(&format!(" Answer in about {words} words."));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_long_as_asked_and_the_same_for_a_seed() {
        let text = |seed| prompt(3, 20, Some(40), &mut fastrand::Rng::with_seed(seed));
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        let (ask, rest) = text(1).split_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!(ask.split(' ').count(), 20);
        assert_eq!(rest, " Answer in about 40 words.");
    }
}
