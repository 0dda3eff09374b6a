package fleet

import (
	"slices"
	"sync"
	"time"
)

// work is the keys that are to be published. Each is there once, and never
// handed out while it is being published: what comes meanwhile is done
// afterwards.
type work struct {
	mu      sync.Mutex
	tasks   map[string]*task
	queue   []string // those that nobody works at, in the order in which they came
	busy    int
	began   uint64 // tasks that were handed out, ever
	planned int    // keys of the reconciliation that are not done
	done    []int64
	wake    chan struct{} // there is something in queue
	settled chan struct{} // there is something in done, or planned is 0
}

// A task is a key that changed.
type task struct {
	id      string
	rows    []int64 // of the outbox, in order
	planned bool    // the reconciliation asked for it
	taken   int     // rows that were there when it was handed out
	busy    bool
	again   bool // something came while it was busy
	waits   bool // it cannot be done as it is, and is tried again later
}

func newWork() *work {
	return &work{tasks: make(map[string]*task), wake: make(chan struct{}, 1), settled: make(chan struct{}, 1)}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// add has the key published: for a row of the outbox, or (row 0) because the
// bucket has it otherwise.
func (w *work) add(id string, row int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tasks[id]
	if t == nil {
		t = &task{id: id}
		w.tasks[id] = t
		w.queue = append(w.queue, id)
	} else if t.busy {
		t.again = true
	} else {
		w.resume(t)
	}
	if row > 0 {
		t.rows = append(t.rows, row)
	} else if !t.planned {
		t.planned = true
		w.planned++
	}
	signal(w.wake)
}

// next returns a key to publish, or "" if there is none. More says that there
// are others.
func (w *work) next() (id string, more bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return "", false
	}
	id = w.queue[0]
	w.queue = w.queue[1:]
	t := w.tasks[id]
	t.busy, t.again, t.taken = true, false, len(t.rows)
	w.busy++
	w.began++
	return id, len(w.queue) > 0
}

// finish ends what next began.
func (w *work) finish(id string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.end(id)
	if ok {
		w.done = append(w.done, t.rows[:t.taken]...)
		t.rows = t.rows[t.taken:]
		w.unplan(t)
	}
	if !ok || t.again {
		w.queue = append(w.queue, id)
		signal(w.wake)
		return
	}
	delete(w.tasks, id)
}

// postpone ends what next began without success: it is tried again after a
// while, or when the key changes. The reconciliation does not wait for it.
func (w *work) postpone(id string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.end(id)
	w.unplan(t)
	t.waits = true
	if t.again {
		w.resume(t)
		return
	}
	time.AfterFunc(d, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.resume(t)
	})
}

// What follows is called with mu.

func (w *work) end(id string) *task {
	t := w.tasks[id]
	t.busy = false
	w.busy--
	return t
}

func (w *work) unplan(t *task) {
	if t.planned {
		t.planned = false
		w.planned--
	}
	signal(w.settled)
}

func (w *work) resume(t *task) {
	if t.waits {
		t.waits = false
		w.queue = append(w.queue, t.id)
		signal(w.wake)
	}
}

// takeDone returns the rows whose changes are in the bucket.
func (w *work) takeDone() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := w.done
	w.done = nil
	return rows
}

// doneLen returns how many rows takeDone would return.
func (w *work) doneLen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.done)
}

// has reports whether there is something left to do for the key, whose newest
// row in the outbox this is; 0: none.
func (w *work) has(id string, row int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks[id] != nil || row > 0 && !slices.Contains(w.done, row)
}

// giveBack takes rows that could not be deleted.
func (w *work) giveBack(rows []int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, rows...)
}

// left returns how many keys of the reconciliation are not done.
func (w *work) left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.planned
}

// idle reports whether nobody works, and how many tasks were begun until now.
func (w *work) idle() (bool, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy == 0, w.began
}
