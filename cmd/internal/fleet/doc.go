// Package fleet spreads what one management node decides to any number of
// gateways, and collects their usage records, over NATS JetStream.
//
// On the management's side:
//
//	link, err := fleet.Connect(cfg, "management", logger)
//	publisher := fleet.NewPublisher(link, manager, policy)
//	drain := fleet.NewDrain(link, logs, ring, quarantine)
//	registry := fleet.NewRegistry(link)
//
// and on a gateway:
//
//	follower := fleet.NewFollower(engine, ring, logger)
//	err = follower.Follow(ctx, link, checkpoint)
//	log, err := usagelog.Open(dir, fleet.NewSink(link, name), nil)
//
// # What is where
//
//	bucket PREFIX_keys    a value for each active key: its allowlist and its [Meta]
//	stream PREFIX_usage   usage records on their way (subjects PREFIX.usage.NODE)
//	bucket PREFIX_nodes   the last report of each node
//
// # Guarantees
//
// The management's database is the truth. A change is acknowledged when that
// has it, and reaches the bucket later, at least once, the last state of each
// key last: each value is published under the condition that the bucket has the
// revision that the publisher knows, so a message of a publisher that was
// killed, or that was held up on the way, changes nothing.
//
// A usage record leaves a gateway's write-ahead file when the stream has it,
// and the stream when the management's log has it. It may travel more than once
// and is stored once, by its ID.
//
// # Concurrency
//
// All functions and methods may be called from any number of goroutines. What
// has goroutines has a Close that ends them.
package fleet
