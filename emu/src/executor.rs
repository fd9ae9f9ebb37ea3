//! Announcing, choosing, granting, polling: how actors take turns.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::machine::{Announced, Candidates, CodeSlot, Leave, MAX_NESTING};
use crate::tree::WinnerTree;
use crate::{
    Access, ActorId, Choice, ContextId, CpuId, End, Kind, Machine, Object, Request, Role, Stop,
    ThreadId, Timed, Touch, Want,
};

impl<'w> Machine<'w> {
    /// Tells that the current actor wants `request` next. `true`: it may act at once, because
    /// the chooser would pick it again.
    #[inline]
    pub(crate) fn announce(&self, request: &Request) -> bool {
        if self.engine.time_decides.get() {
            self.announce_to_time(request)
        } else {
            self.announce_to_chooser(request)
        }
    }

    #[inline(never)]
    fn announce_to_time(&self, request: &Request) -> bool {
        let engine = &self.engine;
        let actor = engine.current.get();
        let slot = self.slot(actor);
        let key = self.key(actor, slot, request);
        if key < engine.timed.horizon() && self.able(actor, request) && !engine.stopping.get() {
            self.commit(actor, slot, Timed::time(key));
            return true;
        }
        self.suspend(actor, slot, request, key);
        false
    }

    /// When time would let `request` come.
    #[inline(always)]
    fn key(&self, actor: ActorId, slot: usize, request: &Request) -> u64 {
        let engine = &self.engine;
        let base = engine.times[slot].get().max(engine.clock.get());
        if let Some(time) = request.not_before {
            return Timed::key_at(time.max(base), slot);
        }
        // Which line an instruction of user mode touches is known only when it is chosen.
        let line = match actor.on_cpu() {
            Some(cpu) if !request.user => self.line_cost(request.object, cpu),
            _ => 0,
        };
        engine.timed.key(base, u64::from(request.cost) + line, slot)
    }

    #[inline(never)]
    fn suspend(&self, actor: ActorId, slot: usize, request: &Request, key: u64) {
        let engine = &self.engine;
        self.keep(slot, request, Timed::time(key));
        self.mark_in_time(slot, true);
        if self.able(actor, request) {
            engine.timed.set(slot, key);
        } else {
            self.park(slot, request.want);
        }
    }

    fn park(&self, slot: usize, want: Want) {
        self.engine.timed.set(slot, WinnerTree::NONE);
        if let Want::Lock(lock) = want
            && !self.locks.borrow().is_free(lock)
        {
            self.locks.borrow_mut().add_spinner(lock, slot);
            self.check_spin_deadlock(slot, lock);
        }
    }

    #[inline]
    fn keep(&self, slot: usize, request: &Request, ready: u64) {
        self.engine.announced[slot].set(Some(Announced {
            request: *request,
            context: self.engine.context.get(),
            ready,
        }));
    }

    #[inline(never)]
    fn announce_to_chooser(&self, request: &Request) -> bool {
        let engine = &self.engine;
        let actor = engine.current.get();
        let slot = self.slot(actor);
        if engine.stopping.get() || engine.keeps_time.get() || engine.lead_len.get() > 0 {
            return self.announce_specially(actor, slot, request);
        }
        self.mark_announced(slot, request.want);
        // Nobody looks at it before somebody else is chosen, unless candidates are looked for.
        let keeps = engine.stale.get() || engine.tracking.get();
        if keeps {
            self.keep(slot, request, 0);
        }
        let chosen = self.choose_among((!keeps).then_some(request));
        if chosen == Some(actor) {
            if keeps {
                self.grant(actor);
            } else {
                self.commit(actor, slot, engine.clock.get() + u64::from(request.cost));
            }
            return true;
        }
        if !keeps {
            self.keep(slot, request, 0);
        }
        engine.chosen.set(chosen);
        false
    }

    /// The same at the end of a run, in a run that keeps time, and in steps that were told ahead.
    #[inline(never)]
    fn announce_specially(&self, actor: ActorId, slot: usize, request: &Request) -> bool {
        let engine = &self.engine;
        let stopping = engine.stopping.get();
        if engine.keeps_time.get() {
            self.suspend(actor, slot, request, self.key(actor, slot, request));
        } else {
            let led = engine.led.get();
            if led < engine.lead_len.get()
                && !stopping
                && engine.lead.borrow()[led] == actor
                && self.able(actor, request)
            {
                engine.led.set(led + 1);
                self.commit(actor, slot, engine.clock.get() + u64::from(request.cost));
                return true;
            }
            self.keep(slot, request, 0);
            self.mark_announced(slot, request.want);
        }
        if stopping {
            return false;
        }
        match self.choose() {
            Some(chosen) if chosen == actor => {
                self.grant(actor);
                true
            }
            chosen => {
                engine.chosen.set(chosen);
                false
            }
        }
    }

    /// Whether what the request wants holds: asked at the fast path, at the announcement and at
    /// the choice.
    #[inline(always)]
    fn able(&self, actor: ActorId, request: &Request) -> bool {
        let ordered = !self.size.store_buffers || self.ordered(actor, request);
        ordered && self.holds(actor, request.want)
    }

    /// Whether what an actor announced could come now.
    #[inline]
    fn announced_able(&self, actor: ActorId, slot: usize) -> bool {
        match self.engine.announced[slot].get() {
            Some(it) if !self.size.store_buffers => self.holds(actor, it.request.want),
            Some(it) => self.able(actor, &it.request),
            None => false,
        }
    }

    #[inline(always)]
    fn holds(&self, actor: ActorId, want: Want) -> bool {
        match want {
            Want::Touch => true,
            Want::Lock(lock) => self.locks.borrow().is_free(lock),
            Want::Zero(counter) => self.counters.borrow()[counter as usize] == 0,
            Want::Event(event) => self.guest().happened(event),
            Want::Wake => match actor.role() {
                Role::Cpu(cpu) => self.cpus[cpu.0 as usize].woken.get(),
                _ => false,
            },
        }
    }

    /// Whether the actor of a slot can be chosen.
    #[inline]
    fn enabled(&self, actor: ActorId, slot: usize) -> bool {
        match actor.role() {
            Role::Cpu(cpu) => {
                self.cpus[cpu.0 as usize].handler_depth.get() == 0
                    && self.announced_able(actor, slot)
            }
            Role::Irq(cpu) => self.deliverable(cpu) || self.announced_able(actor, slot),
            Role::Device(_) => self.announced_able(actor, slot),
        }
    }

    /// Whether only a handler on top of it, or its store buffer, keeps a CPU from going on that
    /// cannot be chosen.
    fn interrupted(&self, actor: ActorId) -> bool {
        matches!(actor.role(), Role::Cpu(_))
            && self.engine.announced[self.slot(actor)]
                .get()
                .is_some_and(|it| self.holds(actor, it.request.want))
    }

    fn note_masked(&self) {
        let mut masked = self.engine.masked.borrow_mut();
        masked.clear();
        for (number, cpu) in self.cpus.iter().enumerate() {
            let id = CpuId(number as u16);
            let depth = cpu.handler_depth.get();
            if depth > 0 {
                masked.push(ActorId::cpu(id));
            }
            if !cpu.irqs_enabled.get() || usize::from(depth) >= MAX_NESTING {
                masked.push(ActorId::irq(id));
            }
        }
    }

    fn deliverable(&self, cpu: CpuId) -> bool {
        let cpu = &self.cpus[cpu.0 as usize];
        cpu.irqs_enabled.get()
            && (cpu.handler_depth.get() as usize) < MAX_NESTING
            && cpu.interrupts.borrow().deliverable(None).is_some()
    }

    /// A step is taken: time moves, the step counts.
    #[inline]
    fn commit(&self, actor: ActorId, slot: usize, time: u64) {
        let engine = &self.engine;
        let clock = engine.clock.get().max(time);
        engine.clock.set(clock);
        engine.times[slot].set(clock);
        let steps = engine.steps.get() + 1;
        engine.steps.set(steps);
        engine.last.set(Some(actor));
        if steps >= engine.limit.get() || steps >= engine.pause_at.get() {
            self.bound_reached(steps);
        }
    }

    #[cold]
    fn bound_reached(&self, steps: u64) {
        if steps >= self.engine.limit.get() {
            self.stop(Stop::StepsExhausted);
        } else {
            self.stop(Stop::Reached);
        }
    }

    /// The next of those that the chooser told ahead.
    fn led(&self) -> Option<ActorId> {
        let engine = &self.engine;
        let led = engine.led.get();
        if led == engine.lead_len.get() {
            return None;
        }
        engine.led.set(led + 1);
        let actor = engine.lead.borrow()[led];
        let slot = self.slot(actor);
        if slot >= engine.announced.len() || !self.enabled(actor, slot) {
            self.stop(Stop::Diverged(format!(
                "{actor} was to go on at step {}, and cannot",
                engine.steps.get() + 1
            )));
        }
        Some(actor)
    }

    /// Asks the chooser; `None` when nothing is enabled, or it refused.
    fn choose(&self) -> Option<ActorId> {
        let engine = &self.engine;
        if let Some(actor) = self.led() {
            return (!engine.stopping.get()).then_some(actor);
        }
        if engine.lead_len.replace(0) > 0 {
            engine.led.set(0);
            engine.tracking.set(engine.tracks.get());
            engine.stale.set(true);
        }
        if engine.keeps_time.get() {
            // Time would have parked these on the way to its choice, so they are parked here too.
            self.first_ready()?;
        }
        self.choose_among(None)
    }

    /// `now` is what the current actor announces, if it is kept nowhere else.
    #[inline(always)]
    fn choose_among(&self, now: Option<&Request>) -> Option<ActorId> {
        let engine = &self.engine;
        if engine.stale.get() {
            self.find_candidates();
        }
        let candidates = engine.candidates.borrow();
        if candidates.actors.is_empty() {
            return None;
        }
        let chosen = if engine.tracking.get() {
            self.ask_and_tell(&candidates.actors)
        } else {
            self.ask_chooser(&candidates.actors, now, &[], &[], &[])
        };
        match chosen {
            Ok(actor) if self.is_among(&candidates, actor) => Some(actor),
            Ok(actor) => self.refused(format!("{actor} was chosen and cannot go on")),
            Err(why) => self.refused(why),
        }
    }

    #[cold]
    fn refused(&self, why: String) -> Option<ActorId> {
        self.stop(Stop::Diverged(why));
        None
    }

    /// Looks who can go on.
    #[inline(never)]
    fn find_candidates(&self) {
        let engine = &self.engine;
        let (keeps_time, tracking) = (engine.keeps_time.get(), engine.tracking.get());
        let mut candidates = engine.candidates.borrow_mut();
        let Candidates { slots, actors } = &mut *candidates;
        engine.interrupted.borrow_mut().clear();
        actors.clear();
        let mut stale = keeps_time;
        for (at, (marks, known)) in engine.marks.iter().zip(slots.iter_mut()).enumerate() {
            let (mut can, ask) = match keeps_time {
                true => (0, marks.marked.get()),
                false => (marks.ready.get(), marks.ask.get()),
            };
            stale |= ask != 0;
            for_each_bit(at, ask, |slot| {
                if keeps_time && engine.timed.key_of(slot) == WinnerTree::NONE {
                    return;
                }
                let actor = self.actor_of_slot(slot);
                if self.enabled(actor, slot) {
                    can |= 1 << (slot % 64);
                } else if tracking && self.interrupted(actor) {
                    engine.interrupted.borrow_mut().push(actor);
                }
            });
            *known = can;
            for_each_bit(at, can, |slot| actors.push(self.actor_of_slot(slot)));
        }
        engine.stale.set(stale);
    }

    /// Whether these are the ones that can go on: what is said of slots is right.
    fn are_right(&self, candidates: &[ActorId], announces: bool) -> bool {
        let (mut right, mut rest) = (true, candidates.iter());
        self.for_each_marked(|slot| {
            let actor = self.actor_of_slot(slot);
            let parked =
                self.engine.keeps_time.get() && self.engine.timed.key_of(slot) == WinnerTree::NONE;
            let announces = announces && actor == self.engine.current.get();
            if announces || !parked && self.enabled(actor, slot) {
                right &= rest.next() == Some(&actor);
            }
        });
        right && rest.next().is_none()
    }

    /// Asks a chooser that tracks.
    #[inline(never)]
    fn ask_and_tell(&self, enabled: &[ActorId]) -> Result<ActorId, String> {
        self.note_masked();
        let engine = &self.engine;
        let mut footprint = engine.footprint.borrow_mut();
        let (interrupted, masked) = (engine.interrupted.borrow(), engine.masked.borrow());
        let chosen = self.ask_chooser(enabled, None, &footprint, &interrupted, &masked);
        footprint.clear();
        chosen
    }

    #[inline(always)]
    fn ask_chooser(
        &self,
        enabled: &[ActorId],
        now: Option<&Request>,
        touched: &[(Object, Touch)],
        interrupted: &[ActorId],
        masked: &[ActorId],
    ) -> Result<ActorId, String> {
        let engine = &self.engine;
        debug_assert!(
            self.are_right(enabled, now.is_some()),
            "they pass for those who can go on: {enabled:?}"
        );
        let choice = Choice {
            step: engine.steps.get() + 1,
            last: engine.last.get(),
            enabled,
            wants: &|actor| match now {
                Some(request) if actor == engine.current.get() => *request,
                _ => self.request_of(actor),
            },
            touched,
            interrupted,
            masked,
            violated: !self.violations.borrow().is_empty(),
        };
        let mut chooser = engine.chooser.borrow_mut();
        let chooser = chooser.as_mut();
        chooser
            .expect("somebody chooses when time does not")
            .choose(&choice)
    }

    /// Most often there are two. They are looked at without leaving early: which it is cannot be
    /// foreseen.
    #[inline(always)]
    fn is_among(&self, candidates: &Candidates, actor: ActorId) -> bool {
        let actors = &candidates.actors;
        let (first, last) = (actors.first(), actors.last());
        (first == Some(&actor)) | (last == Some(&actor)) || self.has_slot(candidates, actor)
    }

    #[inline(never)]
    fn has_slot(&self, candidates: &Candidates, actor: ActorId) -> bool {
        let slot = self.slot(actor);
        let word = candidates.slots.get(slot / 64).copied().unwrap_or(0);
        word & 1 << (slot % 64) != 0 && self.actor_of_slot(slot) == actor
    }

    fn request_of(&self, actor: ActorId) -> Request {
        match (actor.role(), self.engine.announced[self.slot(actor)].get()) {
            (Role::Irq(cpu), None) => delivery(cpu),
            (_, announced) => announced.map_or(delivery(CpuId(0)), |it| it.request),
        }
    }

    /// The chosen actor may act.
    #[inline(always)]
    fn grant(&self, actor: ActorId) {
        let engine = &self.engine;
        let slot = self.slot(actor);
        let announced = engine.announced[slot].take();
        let time = if engine.keeps_time.get() {
            self.mark_in_time(slot, false);
            let time = Timed::time(engine.timed.key_of(slot));
            engine.timed.grant(slot);
            time
        } else {
            // Most often it will announce another step that is as ready.
            if engine.marks[slot / 64].ready.get() & 1 << (slot % 64) == 0 {
                self.mark(slot, false);
            }
            let cost = announced.map_or(0, |it| u64::from(it.request.cost));
            engine.clock.get() + cost
        };
        self.set_current(actor);
        self.commit(actor, slot, time);
    }

    /// Runs until nothing is enabled, a bound is reached, or the chooser gives up. Called again
    /// after [`Stop::Reached`], it goes on.
    pub fn run(&'w self) -> Stop {
        let engine = &self.engine;
        engine.stopping.set(false);
        *engine.stop.borrow_mut() = None;
        if engine.steps.get() == 0 && engine.last.get().is_none() {
            self.start();
        }
        loop {
            if engine.stopping.get() {
                break;
            }
            let next = if engine.time_decides.get() {
                self.first_ready()
            } else {
                engine.chosen.take().or_else(|| self.choose())
            };
            let Some(actor) = next else { break };
            self.take_turn(actor);
        }
        self.conclude()
    }

    /// Whose time comes first, among those whose wants still hold: what was free when it was
    /// announced may be taken by now.
    #[inline]
    fn first_ready(&self) -> Option<ActorId> {
        loop {
            let slot = self.engine.timed.first()?;
            let actor = self.actor_of_slot(slot);
            match self.engine.announced[slot].get() {
                Some(it) if !self.able(actor, &it.request) => {
                    self.park(slot, it.request.want);
                }
                _ => return Some(actor),
            }
        }
    }

    /// Every scheduler announces its first step.
    fn start(&'w self) {
        for cpu in 0..self.cpus.len() {
            let id = CpuId(cpu as u16);
            self.cpus[cpu]
                .scheduler
                .set(Some(ManuallyDrop::new(self.guest().schedule(id))));
        }
        // Nobody is chosen before everybody has announced.
        self.engine.stopping.set(true);
        for cpu in 0..self.cpus.len() {
            let id = CpuId(cpu as u16);
            self.set_current(ActorId::cpu(id));
            self.poll_cpu(id);
        }
        self.engine.stopping.set(false);
    }

    fn take_turn(&'w self, actor: ActorId) {
        let engine = &self.engine;
        match actor.role() {
            Role::Cpu(cpu) => {
                self.grant(actor);
                engine.granted.set(true);
                self.poll_cpu(cpu);
            }
            Role::Irq(cpu) => self.turn_of_irq(cpu),
            Role::Device(slot) => {
                self.grant(actor);
                engine.granted.set(true);
                engine.context.set(ContextId::Device(slot as u16));
                if poll(&self.transfers[slot]).is_ready() {
                    self.transfers[slot].take().map(ManuallyDrop::into_inner);
                    self.withdraw(self.slot(actor));
                }
            }
        }
        debug_assert!(
            !engine.granted.get() || engine.stopping.get(),
            "{actor} was granted a step and took none"
        );
    }

    /// An actor has nothing more to do.
    fn withdraw(&self, slot: usize) {
        self.engine.announced[slot].set(None);
        self.mark(slot, false);
        if self.engine.keeps_time.get() {
            self.engine.timed.set(slot, WinnerTree::NONE);
        }
    }

    fn poll_cpu(&'w self, id: CpuId) {
        let cpu = &self.cpus[id.0 as usize];
        loop {
            if let Some(thread) = cpu.running.get() {
                self.engine.context.set(ContextId::Thread(thread));
                if self.poll_thread(thread).is_ready() {
                    cpu.leave.set(Some(Leave::End));
                }
                if cpu.leave.get().is_none() {
                    return;
                }
                cpu.running.set(None);
                self.touch(crate::machine::readiness_object(id), Touch::Write);
            }
            self.engine.context.set(ContextId::Idle(id));
            assert!(poll(&cpu.scheduler).is_pending(), "a scheduler never ends");
            if cpu.running.get().is_none() {
                return;
            }
        }
    }

    fn poll_thread(&'w self, thread: ThreadId) -> Poll<()> {
        loop {
            let at = thread.0 as usize;
            let code = self.threads.borrow()[at].code.take();
            let mut code = code.expect("a running thread has code");
            let ended = code.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let threads = self.threads.borrow();
            let replacement = threads[at].next_code.take();
            let replaced = replacement.is_some();
            if !replaced && ended.is_pending() {
                threads[at].code.set(Some(code));
                return Poll::Pending;
            }
            drop(threads);
            self.dying.set(replaced);
            drop(ManuallyDrop::into_inner(code));
            self.dying.set(false);
            let threads = self.threads.borrow();
            if replaced {
                threads[at].context.spans.borrow_mut().clear();
                threads[at].code.set(replacement);
                continue;
            }
            threads[at].alive.set(false);
            return Poll::Ready(());
        }
    }

    fn turn_of_irq(&'w self, id: CpuId) {
        let cpu = &self.cpus[id.0 as usize];
        let actor = ActorId::irq(id);
        self.grant(actor);
        let now = self.engine.keeps_time.get().then(|| self.now());
        let vector = (cpu.irqs_enabled.get() && (cpu.handler_depth.get() as usize) < MAX_NESTING)
            .then(|| cpu.interrupts.borrow().deliverable(now))
            .flatten();
        match vector {
            Some(vector) => self.deliver(id, vector),
            None => self.engine.granted.set(true),
        }
        self.poll_handler(id);
    }

    /// The CPU takes an interrupt: a step of its own, and the handler is on top.
    fn deliver(&'w self, id: CpuId, vector: devices::Vector) {
        let cpu = &self.cpus[id.0 as usize];
        let actor = ActorId::irq(id);
        let depth = cpu.handler_depth.get();
        cpu.interrupts.borrow_mut().accept(vector);
        cpu.handler_depth.set(depth + 1);
        self.mark_cpu(id);
        cpu.irqs_enabled.set(false);
        self.engine.context.set(ContextId::Handler(id, depth));
        // A pending switch of tasks comes when the handler ends.
        let declared = depth == 0 && !cpu.need_resched.get() && self.guest().declares_all(vector);
        cpu.declared.set(declared);
        self.touch(crate::machine::readiness_object(id), Touch::Read);
        cpu.handlers.borrow_mut().push((
            vector,
            ManuallyDrop::new(self.guest().interrupt(id, vector)),
        ));
        if self.engine.keeps_time.get() {
            self.engine
                .timed
                .set(self.slot(ActorId::cpu(id)), WinnerTree::NONE);
        }
        self.taken(
            Object::new(Kind::Irq, u64::from(id.0)),
            Access::Update,
            u64::from(vector.0),
            u64::from(self.costs.irq_entry),
            std::panic::Location::caller(),
        );
        debug_assert_eq!(self.actor(), actor);
    }

    fn poll_handler(&'w self, id: CpuId) {
        let cpu = &self.cpus[id.0 as usize];
        let depth = cpu.handler_depth.get();
        assert!(
            depth > 0,
            "an interrupt actor was granted a step it has no use for"
        );
        self.engine.context.set(ContextId::Handler(id, depth - 1));
        let (vector, mut code) = cpu.handlers.borrow_mut().pop().expect("a handler runs");
        let ended = code.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if ended.is_pending() {
            cpu.handlers.borrow_mut().push((vector, code));
            return;
        }
        drop(ManuallyDrop::into_inner(code));
        cpu.interrupts.borrow_mut().eoi();
        cpu.handler_depth.set(depth - 1);
        cpu.irqs_enabled.set(true);
        self.withdraw(self.slot(ActorId::irq(id)));
        if depth > 1 {
            // The handler below announces its step again.
            return self.poll_handler(id);
        }
        let slot = self.slot(ActorId::cpu(id));
        let done = self.engine.times[self.slot(ActorId::irq(id))]
            .get()
            .max(self.now())
            + u64::from(self.costs.irq_exit);
        self.engine.times[slot].set(self.engine.times[slot].get().max(done));
        self.rekey_irq(id);
        self.after_handlers(id, slot);
    }

    /// The CPU goes on, or switches tasks if a handler asked for it and user mode was interrupted.
    fn after_handlers(&'w self, id: CpuId, slot: usize) {
        let cpu = &self.cpus[id.0 as usize];
        let user = self.engine.announced[slot]
            .get()
            .is_some_and(|it| it.request.user);
        if cpu.need_resched.get() && cpu.running.get().is_some() && user {
            self.withdraw(slot);
            self.set_current(ActorId::cpu(id));
            cpu.running.set(None);
            cpu.leave.set(Some(Leave::Preempt));
            self.poll_cpu(id);
        } else {
            self.rekey_cpu(id);
        }
    }

    /// The CPU's announced step can be chosen again, if it can.
    pub(crate) fn rekey_cpu(&self, id: CpuId) {
        if !self.engine.keeps_time.get() {
            return;
        }
        let actor = ActorId::cpu(id);
        let slot = self.slot(actor);
        let Some(announced) = self.engine.announced[slot].get() else {
            return;
        };
        if self.enabled(actor, slot) {
            let floor = self.engine.times[slot].get().max(self.now());
            let ready = announced.ready.max(floor);
            self.engine.timed.set(slot, Timed::key_at(ready, slot));
        } else {
            self.park(slot, announced.request.want);
        }
    }

    /// When the CPU's next interrupt is taken, if none is being served.
    pub(crate) fn rekey_irq(&self, id: CpuId) {
        let cpu = &self.cpus[id.0 as usize];
        let slot = self.slot(ActorId::irq(id));
        if cpu.handler_depth.get() > 0 {
            return;
        }
        let arrival = cpu.interrupts.borrow().next_arrival();
        self.mark(slot, arrival.is_some());
        if self.engine.keeps_time.get() {
            let key = match arrival {
                Some(time) if cpu.irqs_enabled.get() => Timed::key_at(time.max(self.now()), slot),
                _ => WinnerTree::NONE,
            };
            self.engine.timed.set(slot, key);
        }
    }

    /// Announces the first sector of a transfer on the device's behalf.
    pub(crate) fn start_device(&self, slot: usize, request: &Request) {
        let actor = ActorId::device(slot);
        let place = self.slot(actor);
        let ready = request.not_before.unwrap_or(0).max(self.now());
        self.engine.announced[place].set(Some(Announced {
            request: *request,
            context: ContextId::Device(slot as u16),
            ready,
        }));
        if self.engine.keeps_time.get() {
            self.mark_in_time(place, true);
            self.engine.timed.set(place, Timed::key_at(ready, place));
        } else {
            self.mark_announced(place, request.want);
        }
    }

    /// Those who wait for `want` go on: everybody, or for a lock the one who sees it free first.
    pub(crate) fn wake_spinners(&self, want: Want) {
        if !self.engine.keeps_time.get() {
            return;
        }
        if let Want::Lock(lock) = want {
            return self.wake_one_spinner(lock);
        }
        for slot in 0..2 * self.cpus.len() {
            if let Some(it) = self.engine.announced[slot].get()
                && it.request.want == want
                && self.engine.timed.key_of(slot) == WinnerTree::NONE
            {
                let actor = self.actor_of_slot(slot);
                if self.enabled(actor, self.slot(actor)) {
                    self.ready_after_transfer(actor, slot, it.request.object);
                }
            }
        }
    }

    fn wake_one_spinner(&self, lock: crate::LockId) {
        let mut locks = self.locks.borrow_mut();
        let Some(slot) = locks.pick_spinner(lock, &self.engine.spinner_rng, |slot| {
            let waits = self.engine.announced[slot]
                .get()
                .is_some_and(|it| it.request.want == Want::Lock(lock));
            let runs = match self.actor_of_slot(slot).role() {
                Role::Cpu(cpu) => self.cpus[cpu.0 as usize].handler_depth.get() == 0,
                _ => true,
            };
            waits && runs && self.engine.timed.key_of(slot) == WinnerTree::NONE
        }) else {
            return;
        };
        drop(locks);
        let object = Object::new(Kind::Lock, u64::from(lock.0));
        self.ready_after_transfer(self.actor_of_slot(slot), slot, object);
    }

    fn ready_after_transfer(&self, actor: ActorId, slot: usize, object: Object) {
        let from = self.now();
        let cost = match actor.on_cpu() {
            Some(cpu) => self.line_cost(object, cpu),
            None => 0,
        };
        let key = self
            .engine
            .timed
            .key(from, cost + u64::from(self.costs.l1), slot);
        self.engine.timed.set(slot, key);
    }

    /// Whether the slot may be enabled, which has to be asked.
    fn mark(&self, slot: usize, present: bool) {
        let marks = &self.engine.marks[slot / 64];
        let bit = 1 << (slot % 64);
        marks.ready.set(marks.ready.get() & !bit);
        for word in [&marks.marked, &marks.ask] {
            word.set(match present {
                true => word.get() | bit,
                false => word.get() & !bit,
            });
        }
        self.engine.stale.set(true);
    }

    /// Where time decides what is enabled, the rest is in its keys.
    #[inline]
    fn mark_in_time(&self, slot: usize, present: bool) {
        let marked = &self.engine.marks[slot / 64].marked;
        let bit = 1 << (slot % 64);
        marked.set(match present {
            true => marked.get() | bit,
            false => marked.get() & !bit,
        });
    }

    /// The actor of a slot, on top of which no handler runs, announced a step that wants this.
    #[inline(always)]
    fn mark_announced(&self, slot: usize, want: Want) {
        let ready = &self.engine.marks[slot / 64].ready;
        let simple = want == Want::Touch && !self.size.store_buffers;
        // Else it is as it was when it was chosen.
        if !simple || ready.get() & 1 << (slot % 64) == 0 {
            self.mark_as(slot, simple, want == Want::Wake);
        }
    }

    #[inline(never)]
    fn mark_as(&self, slot: usize, ready: bool, sleeps: bool) {
        self.mark(slot, true);
        let marks = &self.engine.marks[slot / 64];
        let bit = 1 << (slot % 64);
        if ready {
            marks.ready.set(marks.ready.get() | bit);
        }
        let cpu = self.cpus.get(slot / 2).filter(|_| slot.is_multiple_of(2));
        // Whoever wakes it marks it again.
        if ready || sleeps && cpu.is_some_and(|cpu| !cpu.woken.get()) {
            marks.ask.set(marks.ask.get() & !bit);
        }
    }

    /// The CPU was woken, or a handler begins on top of it.
    pub(crate) fn mark_cpu(&self, cpu: CpuId) {
        let slot = self.slot(ActorId::cpu(cpu));
        if self.engine.announced[slot].get().is_some() {
            self.mark(slot, true);
        }
    }

    pub(crate) fn for_each_marked(&self, mut f: impl FnMut(usize)) {
        for (at, word) in self.engine.marks.iter().enumerate() {
            for_each_bit(at, word.marked.get(), &mut f);
        }
    }

    /// Why the run is over, and the chooser's last word.
    fn conclude(&self) -> Stop {
        let stop = self.engine.stop.borrow_mut().take();
        if stop.is_none() || stop == Some(Stop::StepsExhausted) {
            let told = self.tell_end();
            if let (None, Err(why)) = (&stop, told) {
                return Stop::Diverged(why);
            }
        }
        if let Some(stop) = stop {
            return stop;
        }
        let waiting = self.waiting();
        if waiting.is_empty() {
            Stop::Finished
        } else {
            Stop::Deadlock(waiting)
        }
    }

    fn tell_end(&self) -> Result<(), String> {
        let mut chooser = self.engine.chooser.borrow_mut();
        let Some(chooser) = chooser.as_mut() else {
            return Ok(());
        };
        let mut pending = Vec::new();
        if chooser.tracks() {
            self.for_each_marked(|slot| {
                let actor = self.actor_of_slot(slot);
                pending.push((actor, self.request_of(actor)));
            });
        }
        chooser.ended(&End {
            steps: self.steps(),
            touched: &self.engine.footprint.borrow(),
            pending: &pending,
        })
    }

    /// Drops all code; the machine can be looked at, reset or left.
    pub fn tear_down(&self) {
        self.dying.set(true);
        let drop_code = |slot: &CodeSlot<'w>| drop(slot.take().map(ManuallyDrop::into_inner));
        for cpu in &self.cpus {
            drop_code(&cpu.scheduler);
            let handlers = std::mem::take(&mut *cpu.handlers.borrow_mut());
            for (_, code) in handlers {
                drop(ManuallyDrop::into_inner(code));
            }
        }
        if self.disk_used.get() || self.size.store_buffers {
            self.transfers.iter().for_each(drop_code);
        }
        for buffer in &self.buffers {
            buffer.borrow_mut().clear();
        }
        let threads = std::mem::take(&mut *self.threads.borrow_mut());
        for thread in &threads[..self.threads_made.get()] {
            drop_code(&thread.code);
            drop_code(&thread.next_code);
        }
        *self.threads.borrow_mut() = threads;
        self.dying.set(false);
    }

    /// A CPU's scheduler runs a thread until it leaves; tells why it left.
    pub fn run_thread(&'w self, thread: ThreadId) -> RunThread<'w> {
        RunThread {
            machine: self,
            thread,
            started: false,
        }
    }

    /// The current thread leaves its CPU; goes on when a scheduler runs it again.
    pub fn leave(&'w self, why: Leave) -> Leaving<'w> {
        Leaving {
            machine: self,
            why,
            left: false,
        }
    }

    /// The thread computes, in no step, until a handler wakes its CPU or makes it switch tasks.
    pub fn spin(&'w self) -> impl Future<Output = ()> + use<'w> {
        let object = Object::new(Kind::RunQueue, u64::from(self.cpu().0));
        let mut request = Request::touch(object, Access::Read, self.costs.l1).when(Want::Wake);
        request.user = true;
        self.step(request, |acting| {
            self.cpus[acting.cpu().0 as usize].woken.set(false);
        })
    }

    /// The CPU halts until an interrupt handler wakes it.
    pub fn halt(&'w self) -> impl Future<Output = ()> + use<'w> {
        let object = Object::new(Kind::RunQueue, u64::from(self.cpu().0));
        let request = Request::touch(object, Access::Read, self.costs.l1).when(Want::Wake);
        self.step(request, |acting| {
            self.cpus[acting.cpu().0 as usize].woken.set(false);
            if self.engine.keeps_time.get() {
                acting.charge(self.idle_exit());
            }
        })
    }
}

/// The slots of the bits of a word, in their order.
#[inline]
fn for_each_bit(word: usize, mut bits: u64, mut f: impl FnMut(usize)) {
    while bits != 0 {
        f(word * 64 + bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}

fn delivery(cpu: CpuId) -> Request {
    Request::touch(Object::new(Kind::Irq, u64::from(cpu.0)), Access::Update, 0)
}

fn poll(slot: &CodeSlot<'_>) -> Poll<()> {
    let mut code = slot.take().expect("an actor that is polled has code");
    let result = code.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    slot.set(Some(code));
    result
}

/// See [`Machine::run_thread`].
#[must_use = "the thread runs only while this is awaited"]
pub struct RunThread<'w> {
    machine: &'w Machine<'w>,
    thread: ThreadId,
    started: bool,
}

impl Future for RunThread<'_> {
    type Output = Leave;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Leave> {
        let id = self.machine.cpu();
        let cpu = &self.machine.cpus[id.0 as usize];
        if !self.started {
            assert!(
                self.machine.alive(self.thread),
                "a dead thread was scheduled"
            );
            cpu.running.set(Some(self.thread));
            self.machine
                .touch(crate::machine::readiness_object(id), Touch::Write);
            self.started = true;
            return Poll::Pending;
        }
        match cpu.leave.take() {
            Some(why) => Poll::Ready(why),
            None => Poll::Pending,
        }
    }
}

/// See [`Machine::leave`].
#[must_use = "the thread stays until this is awaited"]
pub struct Leaving<'w> {
    machine: &'w Machine<'w>,
    why: Leave,
    left: bool,
}

impl Future for Leaving<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.left {
            return Poll::Ready(());
        }
        self.left = true;
        let cpu = &self.machine.cpus[self.machine.cpu().0 as usize];
        cpu.leave.set(Some(self.why));
        Poll::Pending
    }
}
