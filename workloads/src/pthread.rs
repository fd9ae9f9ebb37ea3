//! A small POSIX threads library in user mode: mutexes, condition variables and joins over
//! futexes. Every word lies in the guest's memory.

use mmu::VirtAddr;
use os::{Errno, User};

/// Words for synchronisation, from a page of their own.
#[derive(Clone, Copy)]
pub struct Words {
    page: VirtAddr,
    used: u64,
}

impl Words {
    /// Maps a page for them.
    pub async fn new(user: User<'_>) -> Result<Words, Errno> {
        let page = user.mmap(mmu::PAGE_SIZE as u64).await?;
        Ok(Words { page, used: 0 })
    }

    /// The next word, zero. Words lie 64 bytes apart, as a careful program would lay them.
    pub fn word(&mut self) -> VirtAddr {
        let at = self.page + self.used;
        self.used += 64;
        assert!(self.used <= mmu::PAGE_SIZE as u64, "a page holds 64 words");
        at
    }
}

/// A mutex: 0 free, 1 held, 2 held and waited for.
#[derive(Clone, Copy)]
pub struct Mutex(VirtAddr);

impl Mutex {
    /// On a word that is zero.
    pub fn new(words: &mut Words) -> Mutex {
        Mutex(words.word())
    }

    /// Takes it.
    pub async fn lock(self, user: User<'_>) {
        if user.compare_exchange_u32(self.0, 0, 1).await.is_ok() {
            return;
        }
        while user.swap_u32(self.0, 2).await != 0 {
            // EAGAIN: the word changed, so look again.
            let _ = user.futex_wait(self.0, 2).await;
        }
    }

    /// Releases it.
    pub async fn unlock(self, user: User<'_>) {
        if user.swap_u32(self.0, 0).await == 2 {
            user.futex_wake(self.0, 1).await;
        }
    }
}

/// A condition variable: a word that counts signals.
#[derive(Clone, Copy)]
pub struct Cond(VirtAddr);

impl Cond {
    /// On a word that is zero.
    pub fn new(words: &mut Words) -> Cond {
        Cond(words.word())
    }

    /// Releases the mutex, waits for a signal, takes the mutex again.
    pub async fn wait(self, user: User<'_>, mutex: Mutex) {
        let seen = user.load_u32(self.0).await;
        mutex.unlock(user).await;
        let _ = user.futex_wait(self.0, seen).await;
        mutex.lock(user).await;
    }

    /// Wakes everybody who waits.
    pub async fn broadcast(self, user: User<'_>) {
        user.fetch_add_u32(self.0, 1).await;
        user.futex_wake(self.0, u32::MAX).await;
    }
}

/// A flag that threads wait for: a word under a mutex with a condition variable.
#[derive(Clone, Copy)]
pub struct Turn {
    mutex: Mutex,
    cond: Cond,
    word: VirtAddr,
}

impl Turn {
    /// Nobody's turn yet.
    pub fn new(words: &mut Words) -> Turn {
        Turn {
            mutex: Mutex::new(words),
            cond: Cond::new(words),
            word: words.word(),
        }
    }

    /// It is `whose` turn.
    pub async fn give(self, user: User<'_>, whose: u32) {
        self.mutex.lock(user).await;
        user.store_u32(self.word, whose).await;
        self.cond.broadcast(user).await;
        self.mutex.unlock(user).await;
    }

    /// Waits until it is `whose` turn, or later.
    pub async fn wait(self, user: User<'_>, whose: u32) {
        self.mutex.lock(user).await;
        while user.load_u32(self.word).await < whose {
            self.cond.wait(user, self.mutex).await;
        }
        self.mutex.unlock(user).await;
    }
}

/// A thread that can be joined: it stores 1 to a word at its end.
#[derive(Clone, Copy)]
pub struct Thread(VirtAddr);

impl Thread {
    /// Starts `body` on a thread of its own; `word` is zero and the thread's alone.
    pub async fn spawn<'w, F>(
        user: User<'w>,
        word: VirtAddr,
        name: &str,
        body: impl FnOnce(User<'w>) -> F,
    ) -> Result<Thread, Errno>
    where
        F: Future<Output = ()> + 'w,
    {
        user.store_u32(word, 0).await;
        let program = body(user);
        user.clone_thread(name, |user| async move {
            program.await;
            user.store_u32(word, 1).await;
            user.futex_wake(word, u32::MAX).await;
        })
        .await?;
        Ok(Thread(word))
    }

    /// Waits for its end.
    pub async fn join(self, user: User<'_>) {
        while user.load_u32(self.0).await == 0 {
            let _ = user.futex_wait(self.0, 0).await;
        }
    }
}
