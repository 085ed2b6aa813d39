//! The node as the replicator's home: what it has, and how it takes a step.

use std::collections::BTreeMap;
use std::time::Duration;

use directory::{Object, ObjectId};
use frontend::FrontEnd;
use frontend::admin::{self, Answer, Call, KNOWN_USERS_MAX, KnownUser, OBJECTS_MAX, Refusal};
use net::Handle;
use records::Revision;
use replicator::{Account, Batch, Input, Loaded, Refused};
use tokio::sync::mpsc;

/// Objects that are told to the replicator at once.
const OBJECTS_PER_PART: usize = 5_000;

/// Before a node that still loads its users is asked again.
const STARTING_PAUSE: Duration = Duration::from_millis(50);

/// What is wanted of the home.
pub(super) enum Want {
    Load,
    Commit(Box<Batch>),
}

/// Does what is wanted, one after the other, until nobody wants anything more.
pub(super) async fn serve(
    handle: Handle<FrontEnd>,
    mut wants: mpsc::Receiver<Want>,
    inputs: mpsc::Sender<Input>,
) {
    while let Some(want) = wants.recv().await {
        let done = match want {
            Want::Load => load(&handle, &inputs).await.unwrap_or_else(Input::LoadFailed),
            Want::Commit(batch) => commit(&handle, *batch).await,
        };
        if inputs.send(done).await.is_err() {
            return;
        }
    }
}

/// All parts but the last are sent on; the last is returned.
async fn load(handle: &Handle<FrontEnd>, inputs: &mpsc::Sender<Input>) -> Result<Input, String> {
    let state = match ask(handle, Call::ReplicationState).await? {
        Answer::ReplicationState(state) => state,
        other => return Err(unexpected(&other)),
    };
    let servers = match ask(handle, Call::ListedServers).await? {
        Answer::ListedServers(servers) => servers,
        other => return Err(unexpected(&other)),
    };
    let mut part = Loaded { state, servers, ..Loaded::default() };
    let mut after = None;
    loop {
        let users = match ask(handle, Call::KnownUsers { after, limit: KNOWN_USERS_MAX }).await? {
            Answer::KnownUsers(users) => users,
            other => return Err(unexpected(&other)),
        };
        let Some(last) = users.last() else { break };
        after = Some(last.user);
        for user in users {
            take(&mut part, user);
        }
        say(inputs, std::mem::take(&mut part)).await?;
    }
    for objects in parts(objects(handle).await?) {
        say(inputs, Loaded { objects, ..Loaded::default() }).await?;
    }
    // An empty home has told nothing but its state until here.
    Ok(Input::Loaded(Loaded { is_last: true, ..part }))
}

/// Those of local accounts are none of the replicator's: the node knows them when an address is asked for.
fn take(part: &mut Loaded, user: KnownUser) {
    if let Some(account) = user.account {
        part.accounts.push(Account {
            address: user.address,
            aliases: user.aliases,
            display_name: user.display_name,
            account: *account,
        });
    }
}

/// Objects as they are now: the rows tell their history.
async fn objects(handle: &Handle<FrontEnd>) -> Result<Vec<Object>, String> {
    let mut newest: BTreeMap<ObjectId, Box<Object>> = BTreeMap::new();
    let mut after = Revision(0);
    loop {
        let rows = match ask(handle, Call::Objects { after, limit: OBJECTS_MAX }).await? {
            Answer::Objects(rows) => rows,
            other => return Err(unexpected(&other)),
        };
        let Some(last) = rows.last() else { break };
        after = last.revision;
        for row in rows {
            match row.object {
                Some(object) => drop(newest.insert(row.id, object)),
                None => drop(newest.remove(&row.id)),
            }
        }
    }
    Ok(newest.into_values().map(|object| *object).collect())
}

fn parts(objects: Vec<Object>) -> impl Iterator<Item = Vec<Object>> {
    let mut objects = objects.into_iter();
    std::iter::from_fn(move || {
        let part: Vec<Object> = objects.by_ref().take(OBJECTS_PER_PART).collect();
        (!part.is_empty()).then_some(part)
    })
}

async fn commit(handle: &Handle<FrontEnd>, batch: Batch) -> Input {
    let batch = admin::Batch {
        users: batch
            .users
            .into_iter()
            .map(|user| admin::FromDirectory {
                address: user.address,
                aliases: user.aliases,
                display_name: user.display_name,
                account: user.account,
            })
            .collect(),
        removed: batch.removed,
        objects: batch.objects,
        photos: batch.photos,
        servers: batch.servers,
        state: batch.state,
    };
    let refused = |refused: admin::RefusedAccount| Refused {
        object: refused.object,
        address: refused.address,
        reason: refused.reason.to_string(),
    };
    match ask(handle, Call::Replicate(Box::new(batch))).await {
        Ok(Answer::Replicated(done)) => {
            Input::Committed { refused: done.refused.into_iter().map(refused).collect() }
        }
        Ok(other) => Input::CommitFailed(unexpected(&other)),
        Err(error) => Input::CommitFailed(error),
    }
}

/// Asks the node. One that still loads its users is waited for.
async fn ask(handle: &Handle<FrontEnd>, call: Call) -> Result<Answer, String> {
    loop {
        match handle.call(call.clone()).await {
            Ok(Answer::Refused(Refusal::Starting)) => tokio::time::sleep(STARTING_PAUSE).await,
            Ok(Answer::Refused(refusal)) => return Err(refusal.to_string()),
            Ok(answer) => return Ok(answer),
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn say(inputs: &mpsc::Sender<Input>, part: Loaded) -> Result<(), String> {
    inputs.send(Input::Loaded(part)).await.map_err(|_| "the thread ends".to_owned())
}

fn unexpected(answer: &Answer) -> String {
    format!("the server answered something else: {answer:?}")
}
