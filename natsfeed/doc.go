// Package natsfeed keeps the allowlists of an [ipallow.Engine] in step with a
// bucket of a NATS JetStream key-value store, so that a change is in force on
// every node of a fleet some milliseconds after it was published.
//
//	nc, err := nats.Connect(url, natsfeed.ConnOptions()...)
//	if err != nil {
//		return err
//	}
//	js, err := jetstream.New(nc)
//	if err != nil {
//		return err
//	}
//	engine := ipallow.New(&ipallow.Options{DenyUntilLoaded: true})
//	feed, err := natsfeed.Follow(ctx, engine, js, "allowlists", nil)
//	if err != nil {
//		return err
//	}
//	defer feed.Close()
//
// and where lists are made:
//
//	kv, err := js.KeyValue(ctx, "allowlists")
//	rev, err := natsfeed.Publish(ctx, kv, "key-1", entries, nil)
//
// # Matching rules
//
// A key of the engine has a value in the bucket, under the name that [KeyName]
// gives it. The value is the key's list and, where the application wants it,
// some bytes of its own ([Value]). A value with an empty list makes the key
// unrestricted, and so does deleting it.
//
// A key that has a list loses it by a deletion or an empty list in the bucket,
// and by nothing else. It keeps its list while the feed is cut off; while its
// value cannot be read; and when it is missing from a bucket that was
// re-created, rolled back or purged without a deletion marker. Such keys are
// counted, the node says that it is not ready, and [Confirm] (for the whole fleet)
// or [Feed.AcceptMissing] (for one node) says that they are meant to be gone.
//
// A value that cannot be read, or that the engine's policy refuses, leaves the
// key's list as it was. A key without a list gets one that nobody matches,
// [Nobody]: a value that is there and cannot be read is no reason to serve. Where only
// the list is refused, the value's Meta counts all the same, see [Change].
//
// # Concurrency
//
// All functions and methods may be called from any number of goroutines. A
// Feed runs a goroutine of its own, which calls the hooks of [Options] one at
// a time. It must be the only one that changes its engine.
//
// # Cost
//
// A change costs a node one message and one [ipallow.Engine.Update], shared by
// all changes that arrived meanwhile. To know that it is alive, a feed gets a
// heartbeat every second and asks for the stream's last sequence every three
// (both are options). Beside the engine a feed holds some 30 bytes a key, and
// 50 more with a checkpoint file. docs/fleet.md has measurements.
package natsfeed
