package main

import (
	"slices"
	"strings"
)

const (
	a5, a6   = "203.0.113.5", "203.0.113.6"
	p5, p6   = "203.0.113.5/32", "203.0.113.6/32"
	net, b77 = "198.51.100.0/24", "198.51.100.77"
)

func sequenceCases() []sequenceCase {
	return slices.Concat(setCases(), failCases(), batchCases(), replaceCases(), waitCases(), snapshotCases(), keyCases())
}

func setCases() []sequenceCase {
	return []sequenceCase{
		sequence("set", "a list restricts its key and no other",
			set("a", a5).then(yes("a", a5, 0, p5), no("a", a6), free("b", a6))),
		sequence("set again", "the new list stands in place of the old one, and is not added to it",
			set("a", a5).then(yes("a", a5, 0, p5)),
			set("a", a6).then(yes("a", a6, 0, p6), no("a", a5))),
		sequence("set an empty list", "an empty list is no allowlist",
			set("a", a5).then(no("a", a6)),
			set("a").then(free("a", a6), free("a", ""), reads("a"))),
		sequence("delete", "no allowlist, no restriction",
			set("a", a5).then(no("a", a6)),
			del("a").then(free("a", a6), reads("a"))),
		sequence("delete an unknown key", "it changes no verdict and is a step all the same",
			set("a", a5), del("b").then(no("a", a6), free("b", a6))),
		sequence("delete and set again", "nothing of the old list is left",
			set("a", a5, net), del("a"), set("a", a6).then(no("a", a5), no("a", b77), yes("a", a6, 0, p6))),
		sequence("the last entry removed", "removing the last entry unrestricts the key",
			set("a", a5, a6), set("a", a5).then(no("a", a6)), set("a").then(free("a", a6))),
		sequence("positions", "the position is that in the list of the last set",
			set("a", a5, net).then(yes("a", b77, 1, net)),
			set("a", net, a5).then(yes("a", b77, 0, net), yes("a", a5, 1, p5))),
		sequence("labels", "a set that changes only a label is a change",
			setTexts("a", text{Entry: net, Label: "old"}).then(yes("a", b77, 0, net).label("old")),
			setTexts("a", text{Entry: net, Label: "new"}).then(yes("a", b77, 0, net).label("new"))),
		sequence("read back", "what was set is what can be read back, canonical and with labels",
			setTexts("a", text{Entry: "2001:DB8:0::/48", Label: "site"}, text{Entry: "::ffff:203.0.113.5"}, text{Entry: net, Label: "\u6771"}).then(
				reads("a", text{Entry: "2001:db8::/48", Label: "site"}, text{Entry: p5}, text{Entry: net, Label: "\u6771"}),
				reads("b"))),
		sequence("same list twice", "a step that changes nothing to be seen has a revision of its own",
			set("a", a5), set("a", a5).then(yes("a", a5, 0, p5), no("a", a6))),
		sequence("covered entries are kept", "a redundant entry is legal; removing the wider one leaves it",
			set("a", net, b77).then(yes("a", b77, 1, b77+"/32"), yes("a", "198.51.100.1", 0, net)),
			set("a", b77).then(yes("a", b77, 0, b77+"/32"), no("a", "198.51.100.1"))),
		sequence("no address", "a key with a list and no client address",
			set("a", a5).then(no("a", ""), free("b", ""))),
		sequence("two keys, one list", "equal lists may be shared; deleting one leaves the other",
			set("a", net), set("b", net), del("a").then(free("a", a5), no("b", a5), yes("b", b77, 0, net))),
	}
}

func failCases() []sequenceCase {
	kept := func(name, reason string, bad ...text) sequenceCase {
		return sequence("failing set: "+name, reason,
			set("a", a5).then(no("a", a6)),
			setTexts("a", bad...).fails().then(yes("a", a5, 0, p5), no("a", a6), reads("a", text{Entry: p5})))
	}
	return []sequenceCase{
		kept("bad syntax", "bad data keeps the previous list in force; it never opens a key", text{Entry: "nonsense"}),
		kept("good and bad", "if anything is wrong nothing is stored", text{Entry: a6}, text{Entry: "203.0.113.7/24"}),
		kept("empty text", "a list of one empty text is not the empty list", text{Entry: ""}),
		kept("zone", "bad data keeps the previous list in force", text{Entry: "2001:db8::1%eth0"}),
		kept("too broad", "bad data keeps the previous list in force", text{Entry: "0.0.0.0/0"}),
		kept("not public", "bad data keeps the previous list in force", text{Entry: "10.0.0.1"}),
		kept("duplicate", "bad data keeps the previous list in force", text{Entry: a6}, text{Entry: p6}),
		kept("too many", "bad data keeps the previous list in force", hosts(21, "")...),
		kept("label too long", "bad data keeps the previous list in force", text{Entry: a6, Label: times("x", 101)}),
		kept("label invalid", "bad data keeps the previous list in force", text{Entry: a6, Label: "a\nb"}),
		sequence("failing set: new key", "a key that never had a list stays unrestricted: the step changed nothing",
			set("a", "nonsense").fails().then(free("a", a6), reads("a"))),
		sequence("failing set: then a good one", "a failure leaves nothing behind",
			set("a", a5), set("a", "nonsense").fails(), set("a", a6).then(yes("a", a6, 0, p6), no("a", a5))),
		sequence("failing set: widened policy", "what the default policy refuses, a wider one stores",
			set("a", "10.0.0.0/8").then(yes("a", "10.1.2.3", 0, "10.0.0.0/8"), no("a", a5)),
			set("a", "10.0.0.0/7").fails().then(no("a", "11.0.0.1"))).with(policy{"allow_non_public": true, "min_bits4": 8}),
	}
}

func batchCases() []sequenceCase {
	return []sequenceCase{
		sequence("update: set two keys", "one step for both",
			update(setChange("a", a5), setChange("b", a6)).then(no("a", a6), no("b", a5), yes("a", a5, 0, p5), yes("b", a6, 0, p6))),
		sequence("update: set and delete", "one step for both",
			set("a", a5), update(deleteChange("a"), setChange("b", a6)).then(free("a", a6), no("b", a5))),
		sequence("update: one list is bad", "all or nothing: the good list is not stored either",
			set("a", a5), set("b", a5),
			update(setChange("a", a6), setChange("b", "nonsense")).fails().then(no("a", a6), yes("a", a5, 0, p5), yes("b", a5, 0, p5), no("b", a6))),
		sequence("update: the first list is bad", "all or nothing, whatever the order",
			set("a", a5), update(setChange("b", "10.0.0.1"), setChange("a", a6)).fails().then(no("a", a6), free("b", a6))),
		sequence("update: a deletion beside a bad list", "all or nothing: the key is not opened",
			set("a", a5), update(deleteChange("a"), setChange("b", "8.0.0.0/8")).fails().then(no("a", a6), free("b", a6))),
		sequence("update: set, then delete the same key", "the changes are made in order, and the last one counts",
			update(setChange("a", a5), deleteChange("a")).then(free("a", a6))),
		sequence("update: delete, then set the same key", "the changes are made in order, and the last one counts",
			set("a", a5), update(deleteChange("a"), setChange("a", a6)).then(yes("a", a6, 0, p6), no("a", a5))),
		sequence("update: set the same key twice", "the changes are made in order, and the last one counts",
			update(setChange("a", a5), setChange("a", a6)).then(yes("a", a6, 0, p6), no("a", a5))),
		sequence("update: a bad list, then a good one for the key", "a step with a faulty list fails, whatever follows in it",
			set("a", a5), update(setChange("a", "nonsense"), setChange("a", a6)).fails().then(no("a", a6), yes("a", a5, 0, p5))),
		sequence("update: swap two lists", "both change in the same step",
			set("a", a5), set("b", a6), update(setChange("a", a6), setChange("b", a5)).then(yes("a", a6, 0, p6), yes("b", a5, 0, p5), no("a", a5), no("b", a6))),
		sequence("update: empty list", "as delete",
			set("a", a5), update(setChange("a"), setChange("b", a5)).then(free("a", a6), no("b", a6))),
	}
}

func replaceCases() []sequenceCase {
	return []sequenceCase{
		sequence("replace: everything", "keys that are not in it are unrestricted",
			set("a", a5), replace(listOf("b", a6)).then(free("a", a6), no("b", a5), yes("b", a6, 0, p6), reads("a"))),
		sequence("replace: same key", "the new list in place of the old one",
			set("a", a5), replace(listOf("a", a6)).then(no("a", a5), yes("a", a6, 0, p6))),
		sequence("replace: nothing", "every key is unrestricted",
			set("a", a5), set("b", a5), replace().then(free("a", a6), free("b", a6))),
		sequence("replace: one list is bad", "everything stays; a bad load opens nothing",
			set("a", a5), set("b", a6), replace(listOf("a", a6), listOf("c", "nonsense")).fails().then(no("a", a6), no("b", a5), free("c", a5))),
		sequence("replace: an empty list in it", "an empty list is no allowlist",
			set("a", a5), replace(listOf("a"), listOf("b", a6)).then(free("a", a6), no("b", a5))),
		sequence("replace: then set and delete", "steps go on from the new state",
			replace(listOf("a", a5), listOf("b", a5)), set("a", a6), del("b").then(yes("a", a6, 0, p6), no("a", a5), free("b", a6))),
		sequence("replace: twice the same", "the same state, and a revision of its own",
			replace(listOf("a", a5)), replace(listOf("a", a5)).then(no("a", a6), yes("a", a5, 0, p5))),
		sequence("replace: too many entries in one list", "everything stays",
			set("a", a5), replace(list{"a", hosts(21, "")}).fails().then(no("a", a6), yes("a", a5, 0, p5))),
	}
}

// waitCases are engines that wait for their first load, which is a
// successful replacement of everything.
func waitCases() []sequenceCase {
	return []sequenceCase{
		sequence("wait: before the load", "denied to every key, and it is not known which have lists",
			snapshot("start").then(no("a", a5), no("", ""), no("a", ""))).waiting(),
		sequence("wait: loaded", "from the first load on, as any other engine",
			snapshot("start").then(no("a", a5), no("b", a5)),
			replace(listOf("a", a5)).then(yes("a", a5, 0, p5), no("a", a6), free("b", a5))).waiting(),
		sequence("wait: loaded with nothing", "an empty load is a load",
			replace().then(free("a", a5))).waiting(),
		sequence("wait: a failing load", "a load that fails is none",
			replace(listOf("a", a5), listOf("b", "nonsense")).fails().then(no("a", a5), no("b", a5), no("c", a5)),
			replace(listOf("a", a5)).then(yes("a", a5, 0, p5), free("b", a5))).waiting(),
		sequence("wait: set is no load", "one list is not everything: the others are still unknown",
			set("a", a5).then(no("a", a5), no("b", a5))).waiting(),
		sequence("wait: update and delete are no load", "two lists are not everything either",
			update(setChange("a", a5), setChange("b", a5)).then(no("a", a5), no("c", a5)),
			del("a").then(no("a", a5))).waiting(),
		sequence("wait: the load replaces what was set before", "a load is everything",
			set("a", a5).then(no("a", a5)), replace(listOf("b", a5)).then(free("a", a6), no("b", a6))).waiting(),
		sequence("wait: loaded once is loaded", "a later failure does not bring the waiting back",
			replace(listOf("a", a5)), replace(listOf("a", "nonsense")).fails().then(yes("a", a5, 0, p5), free("b", a5))).waiting(),
		sequence("wait: an old snapshot goes on denying", "a snapshot keeps its answers, the waiting included",
			snapshot("start"), replace(listOf("a", a5)).then(no("a", a5).in("start"), no("b", a5).in("start"), yes("a", a5, 0, p5))).waiting(),
		sequence("wait: not asked for", "an engine that need not wait serves before its first load",
			snapshot("start").then(free("a", a5), free("a", ""))),
	}
}

func snapshotCases() []sequenceCase {
	return []sequenceCase{
		sequence("snapshot: before a set", "a snapshot taken before keeps answering as before",
			snapshot("s"), set("a", a5).then(no("a", a6), free("a", a6).in("s"), reads("a").in("s"))),
		sequence("snapshot: before a change", "the old list answers in the snapshot, the new one outside",
			set("a", a5), snapshot("s"), set("a", a6).then(yes("a", a5, 0, p5).in("s"), no("a", a6).in("s"), yes("a", a6, 0, p6), reads("a", text{Entry: p5}).in("s"))),
		sequence("snapshot: before a deletion", "the snapshot still denies",
			set("a", a5), snapshot("s"), del("a").then(no("a", a6).in("s"), free("a", a6))),
		sequence("snapshot: before a replacement", "the snapshot has the old keys and not the new ones",
			set("a", a5), snapshot("s"), replace(listOf("b", a5)).then(no("a", a6).in("s"), free("b", a6).in("s"), free("a", a6), no("b", a6))),
		sequence("snapshot: two of them", "each keeps its own answers",
			set("a", a5), snapshot("one"), set("a", a6), snapshot("two"), del("a").then(yes("a", a5, 0, p5).in("one"), no("a", a5).in("two"), yes("a", a6, 0, p6).in("two"), free("a", a5))),
		sequence("snapshot: a failing step", "nothing changed, in the snapshot or outside",
			set("a", a5), snapshot("s"), set("a", "nonsense").fails().then(yes("a", a5, 0, p5).in("s"), yes("a", a5, 0, p5))),
		sequence("snapshot: labels and positions", "the explanation is the snapshot's too",
			setTexts("a", text{Entry: a6}, text{Entry: net, Label: "old"}), snapshot("s"), setTexts("a", text{Entry: net, Label: "new"}).then(yes("a", b77, 1, net).label("old").in("s"), yes("a", b77, 0, net).label("new"))),
	}
}

func keyCases() []sequenceCase {
	distinct := func(name, reason, one, other string) sequenceCase {
		return sequence("key: "+name, reason, set(one, a5).then(no(one, a6), free(other, a6)))
	}
	longest := strings.Repeat("k", 1024)
	return []sequenceCase{
		distinct("upper and lower case", "keys are opaque: compared byte by byte", "Key", "key"),
		distinct("prefix of another", "the whole key counts", "key1", "key"),
		distinct("longer than another", "the whole key counts", "key", "key1"),
		distinct("space at the end", "nothing is trimmed", "key", "key "),
		distinct("two forms of one letter", "nothing is normalised: composed and decomposed are two keys", "caf\u00e9", "cafe\u0301"),
		distinct("nul inside", "a reader in C stops at the NUL", "a\u0000b", "a\u0000c"),
		distinct("like a property of an object", "a map that inherits names has keys that nobody set", "k", "constructor"),
		distinct("__proto__", "a plain object of JavaScript treats this name as its own", "__proto__", "toString"),
		distinct("number", "keys are text: 1 and 01 are two", "1", "01"),
		distinct("the longest", "1024 bytes are the limit", longest, longest[1:]),
		sequence("key: empty", "no list can belong to the empty key, so it is denied: a caller that lost the key is not one without a list",
			set("a", a5).then(no("", a5), no("", a6), no("", ""), reads("")),
			update(setChange("a", a6), setChange("", a5)).fails().then(no("", a5), yes("a", a5, 0, p5)),
			replace(listOf("a", a5), listOf("", a5)).fails().then(no("", a5), yes("a", a5, 0, p5))),
		sequence("key: empty, in an empty engine", "denied, and other keys are unrestricted",
			snapshot("start").then(no("", a5), no("", "").in("start"), free("a", a5))),
		sequence("key: one byte too long", "no list can belong to a key of more than 1024 bytes, so it is denied, also where its first 1024 bytes are a key that is allowed",
			set(longest, a5).then(yes(longest, a5, 0, p5), no(longest+"k", a5), no(longest+"k", ""), reads(longest+"k")),
			set(longest+"k", a5).fails().then(no(longest+"k", a5)),
			update(setChange("a", a5), setChange(longest+"k", a5)).fails().then(free("a", a6))),
		sequence("key: deleted, and it never could have a list", "a deletion of such a key is no fault and opens nothing",
			update(deleteChange("")).then(no("", a5)), del(longest+"k").then(no(longest+"k", a5))),
		sequence("key: twice as long", "a length that is kept in ten bits would be that of the longest key",
			set(longest, a5).then(no(longest+longest, a5), no(longest+longest+"k", a5))),
	}
}
