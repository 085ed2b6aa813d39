//! The world's DNS: a table of answers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use node::{Answers, Naptr, Question, ResolveError, Srv};

/// What DNS says, by question; what is not in the table does not exist.
#[derive(Default)]
pub struct Zone {
    answers: BTreeMap<Question, Answers>,
    /// While true every question fails with [`ResolveError::Failed`].
    pub down: bool,
}

impl Zone {
    /// Addresses of a host.
    pub fn addresses(&mut self, host: &str, addresses: &[IpAddr]) {
        self.answers.insert(Question::Addresses(host.into()), Answers::Addresses(addresses.to_vec()));
    }

    /// One more address of a host.
    pub fn add_address(&mut self, host: &str, address: IpAddr) {
        let question = Question::Addresses(host.into());
        match self.answers.entry(question).or_insert_with(|| Answers::Addresses(Vec::new())) {
            Answers::Addresses(addresses) => addresses.push(address),
            Answers::Srv(_) | Answers::Naptr(_) => unreachable!("the answer fits the question"),
        }
    }

    /// SRV records of a service name.
    pub fn srv(&mut self, name: &str, records: Vec<Srv>) {
        self.answers.insert(Question::Srv(name.into()), Answers::Srv(records));
    }

    /// NAPTR records of a domain.
    pub fn naptr(&mut self, domain: &str, records: Vec<Naptr>) {
        self.answers.insert(Question::Naptr(domain.into()), Answers::Naptr(records));
    }

    /// The answer to a question.
    pub fn ask(&self, question: &Question) -> Result<Answers, ResolveError> {
        if self.down {
            return Err(ResolveError::Failed);
        }
        self.answers.get(question).cloned().ok_or(ResolveError::NotFound)
    }
}
