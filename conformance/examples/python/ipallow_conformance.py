#!/usr/bin/env python3
"""ipallow's rules in Python, as a program for "ipallow conformance".

    ipallow conformance --exec python3 -- ipallow_conformance.py

It reads a question from each line of standard input and writes an answer to
a line of standard output; ../../README.md describes both. It needs Python 3.8
and nothing but the standard library.

The module ipaddress holds addresses and writes them. It does not decide what
an entry is: it reads netmasks, padded lengths, zones and digits of other
scripts, none of which is an entry.
"""

import ipaddress
import json
import re
import sys

VERSION = 1

# The ranges that can never be a client's public address, as first and last
# address. Ranges side by side are one, so that a network over both is inside.
NOT_PUBLIC = [
    (ipaddress.ip_address(first), ipaddress.ip_address(last))
    for first, last in [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("224.0.0.0", "255.255.255.255"),
        ("::", "::1"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ]
]

# [0-9] and not \d, which takes the digits of all scripts; fullmatch and not
# $, which lets a line feed pass behind it.
NUMBER = r"(?:0|[1-9][0-9]{0,2})"
IPV4 = re.compile(NUMBER + r"(?:\." + NUMBER + r"){3}")
IPV6 = re.compile(r"[0-9A-Fa-f:]+(?:" + IPV4.pattern + r")?")
LENGTH = re.compile(NUMBER)
ZONE = re.compile(r"""[!-~]+""")
NOT_IN_ZONE = set("[]%,\"'<>*")


class Refused(Exception):
    """An entry that is not accepted."""

    def __init__(self, code, suggest=None):
        super().__init__(code)
        self.code = code
        self.suggest = suggest


def read_address(text):
    """The address of a text without zone, or None."""
    try:
        if IPV4.fullmatch(text):
            return ipaddress.IPv4Address(text)
        if ":" in text and IPV6.fullmatch(text):
            return ipaddress.IPv6Address(text)
    except ValueError:
        pass
    return None


def read_entry(text):
    """The network of an entry's text, with no policy applied."""
    # Split at the slash first: a zone would swallow it.
    address_text, slash, length_text = text.partition("/")
    bare, percent, zone = address_text.partition("%")
    address = read_address(bare)
    if address is None:
        raise Refused("invalid_syntax")
    if percent and (address.version == 4 or not ZONE.fullmatch(zone) or NOT_IN_ZONE & set(zone)):
        raise Refused("invalid_syntax")
    length = address.max_prefixlen
    if slash:
        if not LENGTH.fullmatch(length_text) or int(length_text) > length:
            raise Refused("invalid_syntax")
        length = int(length_text)
    # Unmap before anything is judged.
    if address.version == 6 and address.ipv4_mapped is not None:
        if length < 96:
            raise Refused("invalid_syntax")
        address, length = address.ipv4_mapped, length - 96
    if percent:
        raise Refused("zone_not_allowed", None if slash else [str(address)])
    network = ipaddress.ip_network((address, length), strict=False)
    if network.network_address != address:
        raise Refused("host_bits_set", [str(network), str(address)])
    return network


def check_policy(network, policy):
    if network.prefixlen < policy["min_bits%d" % network.version]:
        raise Refused("too_broad")
    if policy["allow_non_public"]:
        return
    for first, last in NOT_PUBLIC:
        if first.version == network.version and first <= network[0] and network[-1] <= last:
            raise Refused("not_public")


def read_label(entry):
    """The label as text, or None if it is none."""
    try:
        if "label_hex" in entry:
            label = bytes.fromhex(entry["label_hex"]).decode("utf-8")
        else:
            label = entry.get("label", "")
            label.encode("utf-8")  # fails on surrogates
    except UnicodeError:
        return None
    if any(c < " " or "\x7f" <= c <= "\x9f" for c in label):
        return None
    return label


def read_list(entries, policy):
    """The list as (network, label) pairs, and all its faults."""
    result, faults, seen = [], [], {}
    for index, entry in enumerate(entries):
        network = None
        try:
            network = read_entry(entry["entry"])
            check_policy(network, policy)
            if network in seen:
                faults.append({"index": index, "code": "duplicate", "first": seen[network]})
            seen.setdefault(network, index)
        except Refused as refused:
            faults.append({"index": index, "code": refused.code})
        label = read_label(entry)
        if label is None:
            faults.append({"index": index, "code": "label_invalid"})
        elif len(label) > policy["max_label"]:
            faults.append({"index": index, "code": "label_too_long"})
        result.append((network, label))
    if len(entries) > policy["max_entries"]:
        faults.append({"index": -1, "code": "too_many_entries"})
    return result, faults


def covers(wide, narrow):
    return wide.version == narrow.version and narrow.subnet_of(wide)


def warnings(pairs):
    return [
        {"index": i, "code": "redundant"}
        for i, (narrow, _) in enumerate(pairs)
        if any(j != i and covers(wide, narrow) for j, (wide, _) in enumerate(pairs))
    ]


def write_entry(network, label):
    entry = {"entry": str(network)}
    if label:
        entry["label"] = label
    return entry


def verdict(pairs, address_text):
    """The verdict on an address for a list, and the most specific match."""
    if not pairs:
        return {"verdict": "unrestricted"}
    address = None
    if address_text:
        address = read_address(address_text.partition("%")[0])
        if address is None:
            raise ValueError("%r is no address" % address_text)
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    best = None
    for index, (network, label) in enumerate(pairs):
        if address is None or address.version != network.version or address not in network:
            continue
        if best is None or network.prefixlen > pairs[best][0].prefixlen:
            best = index
    if best is None:
        return {"verdict": "denied"}
    return {"verdict": "allowed", "match": {"index": best, **write_entry(*pairs[best])}}


class Faulty(Exception):
    """A step that is refused."""


def can_have_list(key):
    """Whether a key has 1 to 1024 bytes; no other key can have a list."""
    return 1 <= len(key.encode("utf-8")) <= 1024


class Engine:
    """Lists by key. A state is never changed once it is published, so that a
    snapshot is the state itself."""

    def __init__(self, policy, wait):
        self.policy = policy
        self.state = (not wait, {})  # loaded, lists
        self.revision = 1

    def publish(self, loaded, lists):
        self.state = (loaded, lists)
        self.revision += 1

    def put(self, lists, key, entries):
        pairs, faults = read_list(entries, self.policy)
        if faults or not can_have_list(key):
            raise Faulty()
        if pairs:
            lists[key] = pairs
        else:
            lists.pop(key, None)

    def update(self, changes):
        loaded, lists = self.state
        lists = dict(lists)
        for change in changes:
            if change["op"] == "set":
                self.put(lists, change["key"], change["entries"])
            elif change["op"] == "delete":
                lists.pop(change["key"], None)
            else:
                raise ValueError("unknown change %r" % change["op"])
        self.publish(loaded, lists)

    def replace(self, given):
        lists = {}
        for item in given:
            self.put(lists, item["key"], item["entries"])
        self.publish(True, lists)


def probe(state, question):
    loaded, lists = state
    pairs = lists.get(question["key"], [])
    if question["op"] == "entries":
        return {"entries": [write_entry(*pair) for pair in pairs]}
    if question["op"] != "check":
        raise ValueError("unknown probe %r" % question["op"])
    if not loaded or not can_have_list(question["key"]):
        return {"verdict": "denied"}
    return verdict(pairs, question["address"])


def answer_entry(question):
    try:
        network = read_entry(question["entry"])
        check_policy(network, question["policy"])
    except Refused as refused:
        answer = {"code": refused.code}
        if refused.suggest:
            answer["suggest"] = refused.suggest
        return answer
    return {"canonical": str(network)}


def answer_list(question):
    pairs, faults = read_list(question["entries"], question["policy"])
    if faults:
        return {"faults": faults}
    return {"entries": [write_entry(*pair) for pair in pairs], "warnings": warnings(pairs)}


def answer_verdict(question):
    pairs, faults = read_list(question["entries"], question["policy"])
    if faults:
        raise ValueError("the list is faulty: %r" % faults)
    return verdict(pairs, question["address"])


def answer_sequence(question):
    engine = Engine(question["policy"], question.get("deny_until_loaded", False))
    answer = {"revision": engine.revision, "steps": []}
    snapshots = {}
    for step in question["steps"]:
        ok = True
        try:
            if step["op"] in ("set", "delete"):
                engine.update([step])
            elif step["op"] == "update":
                engine.update(step["changes"])
            elif step["op"] == "replace":
                engine.replace(step["lists"])
            elif step["op"] == "snapshot":
                snapshots[step["name"]] = engine.state
            else:
                raise ValueError("unknown step %r" % step["op"])
        except Faulty:
            ok = False
        done = {"ok": ok, "revision": engine.revision}
        if "probes" in step:
            done["probes"] = [
                probe(snapshots[p["snapshot"]] if "snapshot" in p else engine.state, p)
                for p in step["probes"]
            ]
        answer["steps"].append(done)
    return answer


KINDS = {
    "entry": answer_entry,
    "list": answer_list,
    "verdict": answer_verdict,
    "sequence": answer_sequence,
}


def main():
    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            if question["version"] != VERSION:
                raise ValueError("version %r is not known" % question["version"])
            answer = KINDS[question["kind"]](question)
        except Exception as error:  # said in the answer, so that the others are still asked
            answer = {"error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps({"id": question["id"], **answer}), flush=True)


if __name__ == "__main__":
    main()
