//! Model checks: a scheduler of its own runs the tasks of a test and picks at each switch which one goes on, some thousand
//! times with other choices. What fails prints its schedule; `shuttle::replay` runs it again.

/// How many schedules each model is run with.
pub(super) const SCHEDULES: usize = 3_000;

/// Lets another task of a model go on here; nothing anywhere else.
pub(super) fn switch() {
    if !std::thread::panicking() && shuttle::current::try_get_current_task().is_some() {
        shuttle::thread::yield_now();
    }
}

/// Runs the tasks of `model` under many schedules. Tasks that wait for each other fail it.
pub(super) fn check<F: Future<Output = ()> + 'static>(model: impl Fn() -> F + Send + Sync + 'static) {
    shuttle::check_random(move || shuttle::future::block_on(model()), SCHEDULES);
}
