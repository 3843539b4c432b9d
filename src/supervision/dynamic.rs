//! A supervisor whose children come and go at run time (OTP `simple_one_for_one`): each stands alone, and at the end all are
//! stopped at once, under their own deadlines.

use crate::types::policy::{AutoShutdown, Intensity, Strategy};

use super::machine::{Boot, Spec};
use super::supervisor::{Observer, Options};

/// Options of a dynamic supervisor, for [`super::supervisor::start`] or [`super::supervisor::ChildSpec::supervisor`]; children are added with
/// [`super::supervisor::Handle::add_child`]. A temporary child is forgotten when it ends.
#[must_use]
pub fn options(intensity: Intensity, seed: u64, observer: Option<Observer>) -> Options {
    let spec = Spec {
        strategy: Strategy::OneForOne,
        intensity,
        auto_shutdown: AutoShutdown::Never,
        boot: Boot::Undo,
        parallel_stop: true,
        parallel_start: true,
        seed,
    };
    Options { spec, children: Vec::new(), observer }
}
