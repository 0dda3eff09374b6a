// Package entrytext reads the text of an allowlist's entry, or says why it is none and what was
// probably meant. Only [Parse] and [Check] let an entry through, and both are short: the rest of the
// package runs when they have refused, and looks into decorations by reading what is inside them as
// an entry. Nothing here knows of a policy.
package entrytext
