// Package usagelog records API requests without slowing them down: a bounded
// queue, a write-ahead file that survives a kill -9, a store that can be paged,
// filtered and exported as CSV.
//
//	w, err := usagelog.Open("/var/lib/api/usage", store, nil)
//	if err != nil {
//		return err
//	}
//	defer w.Close(ctx)
//
//	// For each request, when it has been answered:
//	w.Record(usagelog.Record{
//		Time: start, RequestID: id, KeyID: key, Method: r.Method, Path: r.URL.Path,
//		Status: status, ClientAddr: client, Verdict: verdict, Duration: time.Since(start),
//	})
//
//	// Reading:
//	page, err := store.Query(ctx, usagelog.Query{Filter: usagelog.Filter{KeyID: key}})
//	err = usagelog.WriteCSV(out, store.Stream(ctx, usagelog.Filter{KeyID: key}))
//
// # Guarantees
//
// A record is acknowledged when [Writer.Append] returns nil, or when a
// [Writer.Flush] begun after its [Writer.Record] does. An acknowledged record is in the
// write-ahead file. It reaches the [Store], and is there once, if the process
// is killed at any moment, by kill -9 too, and a Writer is opened on the same
// directory again. It survives a power loss or a crash of the kernel as well if
// Options.Fsync is set; without it, up to the last half minute, as the kernel
// writes back, may be lost then. The store's own durability is the store's:
// records that it has confirmed are removed from the write-ahead file.
//
// A record that is only queued, as Record leaves it, is written within
// Options.Linger (10 ms) and is lost if the process is killed before.
//
// Nothing is dropped silently. Every record given to a Writer is, at every
// moment, in exactly one of the counts of [Stats]: stored, pending or lost, and
// a lost record has its [Cause]. Records are lost only when the queue in memory
// is full (because the disk pauses, fails, or the write-ahead files are full
// behind a store that is down), when the store refuses a record for ever, when
// the disk damages a file, or after Close. A record that is killed with the
// process before it was acknowledged is in no count, for the counts die too.
//
// An error of the store means later, unless it wraps [ErrRejected]: the records
// are tried again, for ever, however many calls fail. There is one exception,
// for a store that does not say what it refuses. A record that fails alone 32
// times, each time beside other records that are taken, tried before or after
// them at random, counts as rejected. For a store that fails regardless of the
// record that has a chance of one in 2^32, and it never happens to an error that
// wraps [ErrUnavailable].
//
// Damage in a write-ahead file, a torn tail or flipped bits, is found by a
// checksum on each record, reported by file and offset, and stepped over.
//
// # Concurrency
//
// All methods of [Writer] and [MemoryStore] may be called from any number of
// goroutines, also while the Writer closes. A Writer runs two goroutines, which
// end with Close. A lock on its directory keeps a second process out, and a
// second Writer in the same process (on Linux, macOS, the BSDs and Windows;
// elsewhere the operator has to see to it).
//
// # Cost
//
// Record encodes into a buffer under a mutex: 100 to 200 ns (BenchmarkRecord), no allocation, no
// system call but the waking of a goroutine once every Options.Linger. A Writer
// reserves twice Options.QueueBytes of memory (8 MiB by default; the system
// gives it when it is first needed), and takes Options.WALBytes on disk at most
// (256 MiB). Append without Fsync costs a write to the page cache, 3 to 20 us;
// with Fsync the latency of the disk, shared by all that wait.
//
// The store is called by one goroutine, one batch after the other, so what it
// takes in a second is Options.BatchRecords divided by the time of an Append:
// 25,600 records at 20 ms, 512 at a second. A store that is slower than the
// traffic fills the write-ahead files, and then records are lost; raise
// Options.BatchRecords for one whose calls cost much and whose rows cost little.
package usagelog
