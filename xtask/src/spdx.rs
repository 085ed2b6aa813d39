//! Licence expressions as Cargo manifests write them (SPDX 2.3 annex D, plus the old `MIT/Apache-2.0`).

use anyhow::bail;

/// A parsed expression. `OR` binds weaker than `AND`, `AND` weaker than `WITH`.
#[derive(Debug, PartialEq)]
pub(crate) enum Expression {
    License { id: String, exception: Option<String> },
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
}

impl Expression {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Expression> {
        let mut tokens = tokens(text);
        tokens.reverse();
        let expression = or(&mut tokens)?;
        match tokens.pop() {
            None => Ok(expression),
            Some(rest) => bail!("`{rest}` does not belong there"),
        }
    }

    /// Whether we can comply while using only licences that `allowed` accepts. An exception only adds permissions,
    /// so that a licence with one is as good as without.
    pub(crate) fn satisfied(&self, allowed: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Expression::License { id, .. } => allowed(id),
            Expression::And(a, b) => a.satisfied(allowed) && b.satisfied(allowed),
            Expression::Or(a, b) => a.satisfied(allowed) || b.satisfied(allowed),
        }
    }
}

/// Words and parentheses, first first. The old slash means OR.
fn tokens(text: &str) -> Vec<String> {
    text.replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

// Each of these takes its tokens from the end of the list, where the next one stands.

fn or(tokens: &mut Vec<String>) -> anyhow::Result<Expression> {
    let mut left = and(tokens)?;
    while take(tokens, "OR") {
        left = Expression::Or(Box::new(left), Box::new(and(tokens)?));
    }
    Ok(left)
}

fn and(tokens: &mut Vec<String>) -> anyhow::Result<Expression> {
    let mut left = license(tokens)?;
    while take(tokens, "AND") {
        left = Expression::And(Box::new(left), Box::new(license(tokens)?));
    }
    Ok(left)
}

fn license(tokens: &mut Vec<String>) -> anyhow::Result<Expression> {
    if take(tokens, "(") {
        let inner = or(tokens)?;
        if !take(tokens, ")") {
            bail!("a parenthesis stays open");
        }
        return Ok(inner);
    }
    let id = name(tokens)?;
    let exception = if take(tokens, "WITH") { Some(name(tokens)?) } else { None };
    Ok(Expression::License { id, exception })
}

fn name(tokens: &mut Vec<String>) -> anyhow::Result<String> {
    match tokens.pop() {
        None => bail!("a name is missing at the end"),
        Some(word) if matches!(word.as_str(), "AND" | "OR" | "WITH" | "(" | ")") => {
            bail!("`{word}` stands where a name should")
        }
        Some(name) => Ok(name),
    }
}

fn take(tokens: &mut Vec<String>, word: &str) -> bool {
    let next = tokens.last().is_some_and(|token| token == word);
    if next {
        tokens.pop();
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, allowed: &[&str]) -> bool {
        Expression::parse(text).expect(text).satisfied(&|id| allowed.contains(&id))
    }

    #[test]
    fn precedence() {
        // A or (B and C), not (A or B) and C.
        assert!(check("A OR B AND C", &["A"]));
        assert!(!check("(A OR B) AND C", &["A"]));
        assert!(check("(A OR B) AND C", &["B", "C"]));
        assert!(!check("A AND B", &["A"]));
        assert!(check("MIT/Apache-2.0", &["Apache-2.0"]));
    }

    #[test]
    fn exceptions_belong_to_their_licence() {
        assert_eq!(
            Expression::parse("Apache-2.0 WITH LLVM-exception").expect("well formed"),
            Expression::License { id: "Apache-2.0".into(), exception: Some("LLVM-exception".into()) }
        );
        assert!(!check("GPL-2.0 WITH Classpath-exception-2.0", &["MIT", "Classpath-exception-2.0"]));
    }

    #[test]
    fn malformed() {
        for text in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH", "MIT AND AND ISC"]
        {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}
