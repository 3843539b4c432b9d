//! The live tree: every node writes its own line, a snapshot reads them all. No actor is ever asked, so a busy or wedged one
//! is shown as it last said it was.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::types::status::Node;

/// Reads the tree. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tree {
    root: Weak<Inner>,
}

/// A node's own end of its line; the node leaves the tree when this is dropped.
#[derive(Debug)]
pub struct Branch {
    inner: Arc<Inner>,
    parent: Weak<Inner>,
}

/// Gives the children of a node from the board of their owner. Called by every snapshot: must not wait.
pub type Provider = Arc<dyn Fn() -> Vec<Node> + Send + Sync>;

struct Inner {
    id: String,
    kind: String,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    state: Cow<'static, str>,
    restarts: u64,
    detail: String,
    children: Vec<Weak<Inner>>,
    provider: Option<Provider>,
}

impl Tree {
    /// The whole tree as it is now; nothing once the root is gone.
    #[must_use]
    pub fn snapshot(&self) -> Option<Node> {
        self.root.upgrade().map(|root| root.node())
    }
}

impl Branch {
    /// The root of a new tree.
    #[must_use]
    pub fn root(id: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { inner: Inner::new(id, kind), parent: Weak::new() }
    }

    /// A new node below this one, after its siblings.
    #[must_use]
    pub fn child(&self, id: impl Into<String>, kind: impl Into<String>) -> Self {
        let inner = Inner::new(id, kind);
        self.inner.line().children.push(Arc::downgrade(&inner));
        Self { inner, parent: Arc::downgrade(&self.inner) }
    }

    /// Reads the tree from this node down.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree { root: Arc::downgrade(&self.inner) }
    }

    /// Its name among its siblings.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Says what the node does now.
    pub fn set_state(&self, state: impl Into<Cow<'static, str>>) {
        self.inner.line().state = state.into();
    }

    /// Says what a reader wants next to the name.
    pub fn set_detail(&self, detail: impl Into<String>) {
        self.inner.line().detail = detail.into();
    }

    /// Says how often it was restarted.
    pub fn set_restarts(&self, restarts: u64) {
        self.inner.line().restarts = restarts;
    }

    /// Children that others keep: shown after the registered ones.
    pub fn attach(&self, provider: Provider) {
        self.inner.line().provider = Some(provider);
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        if let Some(parent) = self.parent.upgrade() {
            let own = Arc::downgrade(&self.inner);
            parent.line().children.retain(|child| !child.ptr_eq(&own));
        }
    }
}

impl Inner {
    fn new(id: impl Into<String>, kind: impl Into<String>) -> Arc<Self> {
        let line = Mutex::new(Line { state: "running".into(), ..Line::default() });
        Arc::new(Self { id: id.into(), kind: kind.into(), line })
    }

    /// Held for a few assignments only, never while calling out. A line is whole even after a panic.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> Node {
        let line = self.line();
        let (below, provider) = (line.children.clone(), line.provider.clone());
        let mut node = Node {
            id: self.id.clone(),
            kind: self.kind.clone(),
            state: line.state.clone().into_owned(),
            restarts: line.restarts,
            detail: line.detail.clone(),
            children: Vec::new(),
        };
        drop(line);
        node.children = below.iter().filter_map(Weak::upgrade).map(|child| child.node()).collect();
        node.children.extend(provider.map(|provider| provider()).unwrap_or_default());
        node
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Node").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Branch;
    use crate::types::status::Node;

    fn ids(node: &Node) -> Vec<&str> {
        node.children.iter().map(|child| child.id.as_str()).collect()
    }

    #[test]
    fn shows_what_nodes_say_in_order() {
        let root = Branch::root("cafe", "supervisor");
        let store = root.child("store", "actor");
        let logs = root.child("logs", "supervisor");
        let sink = logs.child("web", "actor");
        store.set_state("backoff");
        store.set_restarts(3);
        sink.set_detail("12 lines");
        let node = root.tree().snapshot().expect("alive");
        assert_eq!(ids(&node), ["store", "logs"]);
        assert_eq!((node.children[0].state.as_str(), node.children[0].restarts), ("backoff", 3));
        assert_eq!(node.children[1].children[0].detail, "12 lines");
    }

    #[test]
    fn a_dropped_node_leaves() {
        let root = Branch::root("cafe", "supervisor");
        let store = root.child("store", "actor");
        let _logs = root.child("logs", "supervisor");
        drop(store);
        assert_eq!(ids(&root.tree().snapshot().expect("alive")), ["logs"]);
        let tree = root.tree();
        drop(root);
        assert!(tree.snapshot().is_none());
    }

    #[test]
    fn a_provider_may_look_at_the_tree_itself() {
        let root = Arc::new(Branch::root("cafe", "supervisor"));
        let services = root.child("services", "supervisor");
        let reader = services.tree();
        services.attach(Arc::new(move || {
            let _not_a_deadlock = reader.clone();
            vec![Node {
                id: "web".to_owned(),
                kind: "service".to_owned(),
                state: "ready".to_owned(),
                restarts: 0,
                detail: String::new(),
                children: Vec::new(),
            }]
        }));
        let node = root.tree().snapshot().expect("alive");
        assert_eq!(ids(&node.children[0]), ["web"]);
    }
}
