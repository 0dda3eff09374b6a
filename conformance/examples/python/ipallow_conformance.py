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

# The ranges that can never be a client's public address.
NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in """
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
        192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4
        ::/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001:2::/48 5f00::/16
        fc00::/7 fe80::/10 fec0::/10 ff00::/8
    """.split()
]

# The forms that carry an IPv4 address in their last 32 bits.
CARRIERS = [ipaddress.ip_network(text) for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")]

# [0-9] and not \d, which takes the digits of all scripts; fullmatch and not
# $, which lets a line feed pass behind it.
NUMBER = r"(?:0|[1-9][0-9]{0,2})"
IPV4 = re.compile(NUMBER + r"(?:\." + NUMBER + r"){3}")
IPV6 = re.compile(r"[0-9A-Fa-f:]+(?:" + IPV4.pattern + r")?")
LENGTH = re.compile(NUMBER)
ZONE = re.compile(r"[^\x00-\x1f\x7f-\x9f\[\]]+")


class Refused(Exception):
    """An entry that is not accepted, with the networks that were meant: all
    of them together, or one of them if either."""

    def __init__(self, code, networks=(), either=False):
        super().__init__(code)
        self.code = code
        self.networks = list(networks)
        self.either = either

    def suggest(self, policy):
        """What may be written instead: nothing that the policy refuses."""
        accepted = [n for n in self.networks if not refusal(n, policy)]
        if not self.either and (len(accepted) < len(self.networks) or len(accepted) > policy["max_entries"]):
            return []
        return [str(n[0]) if n.num_addresses == 1 else str(n) for n in accepted]


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
    if len(text.encode("utf-8", "surrogatepass")) > 128:
        raise Refused("invalid_syntax", meaning(text))
    # Split at the slash first: a zone would swallow it.
    address_text, slash, length_text = text.partition("/")
    bare, percent, zone = address_text.partition("%")
    address = read_address(bare)
    if address is None:
        raise Refused("invalid_syntax", meaning(text))
    if percent and (address.version == 4 or not ZONE.fullmatch(zone)):
        raise Refused("invalid_syntax")
    length = address.max_prefixlen
    if slash:
        if not LENGTH.fullmatch(length_text) or int(length_text) > length:
            raise Refused("invalid_syntax", meaning(text))
        length = int(length_text)
    # Unmap before anything is judged.
    if address.version == 6 and address.ipv4_mapped is not None:
        if length < 96:
            raise Refused("invalid_syntax")
        address, length = address.ipv4_mapped, length - 96
    network = ipaddress.ip_network((address, length), strict=False)
    if percent:
        raise Refused("zone_not_allowed", [network])
    if network.network_address != address:
        raise Refused("host_bits_set", [network, ipaddress.ip_network(address)], either=True)
    return network


def meaning(text):
    """The networks that a text stands for which is no entry, or none. The
    cases ask for ranges, wildcards, netmasks and several in one text."""
    parts = [part.strip() for part in re.split(r"[,;|\r\n]", text) if part.strip()]
    if len(parts) < 2:
        text = text.strip()
        for read in (read_mask, read_range, read_wildcard):
            networks = read(text)
            if networks:
                return networks
        parts = text.split()
        if len(parts) < 2:
            return []
    networks = []
    for part in parts:
        try:
            found = [read_entry(part)]
        except Refused as refused:
            found = [] if refused.either else refused.networks
        if not found:
            return []
        networks += [n for n in found if n not in networks]
    return networks


def read_mask(text):
    address, _, mask = text.partition("/") if "/" in text else text.partition(" ")
    address, mask = read_address(address), read_address(mask)
    if address is None or mask is None or address.version != 4 or mask.version != 4:
        return []
    bits = "{:032b}".format(int(mask))
    if bits[0] == "0" and "1" in bits:  # inverted
        bits = bits.translate(str.maketrans("01", "10"))
    ones = bits.rstrip("0")
    if not ones or "0" in ones:
        return []
    return [ipaddress.ip_network((address, len(ones)), strict=False)]


def read_range(text):
    first, hyphen, last = [part.strip() for part in text.partition("-")]
    first = read_address(first)
    if not hyphen or first is None:
        return []
    if first.version == 4 and LENGTH.fullmatch(last):
        last = str(first).rpartition(".")[0] + "." + last
    last = read_address(last)
    if last is None or last.version != first.version or last < first:
        return []
    return list(ipaddress.summarize_address_range(first, last))


def read_wildcard(text):
    dot, size, most = (":", 16, 8) if ":" in text else (".", 8, 4)
    parts = text.split(dot)
    fixed = parts.index("*") if "*" in parts else 0
    if not 0 < fixed < most or len(parts) > most or "" in parts or set(parts[fixed:]) != {"*"}:
        return []
    address = read_address(dot.join(parts[:fixed] + ["0"] * (most - fixed)))
    return [] if address is None else [ipaddress.ip_network((address, size * fixed), strict=False)]


def refusal(network, policy):
    """The code with which the policy refuses a network, or None."""
    if not policy["allow_non_public"] and not_public(network):
        return "not_public"
    if network.prefixlen < policy["min_bits%d" % network.version]:
        return "too_broad"
    return None


def not_public(network):
    """Whether the network is wholly in the ranges, one or several."""
    if any(covers(r, network) for r in NOT_PUBLIC):
        return True
    if not any(covers(network, r) for r in NOT_PUBLIC):
        return False
    return all(not_public(half) for half in network.subnets())


def check_policy(network, policy):
    code = refusal(network, policy)
    if code is None:
        return
    carried = []
    if code == "not_public" and network.prefixlen >= 96 and any(covers(c, network) for c in CARRIERS):
        carried = [ipaddress.ip_network((int(network[0]) & 0xFFFFFFFF, network.prefixlen - 96))]
    raise Refused(code, carried)


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
        return {"code": refused.code, "suggest": refused.suggest(question["policy"])}
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
