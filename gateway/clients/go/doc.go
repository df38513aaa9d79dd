// Package bot is for bots that take calls from a Patchbay gateway over plain HTTP: no public address, no WebRTC, no codec.
//
// A [Bot] registers and is offered calls; a [Call] is one that it has taken. Everything is of the standard library.
package bot
