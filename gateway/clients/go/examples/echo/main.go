// A bot that says back what it hears, for a minute. PATCHBAY_URL, PATCHBAY_BOT and PATCHBAY_KEY (a file) say where and who.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"patchbay/bot"
)

func main() {
	key, wrong := bot.ReadKey(os.Getenv("PATCHBAY_KEY"))
	// The gateway's public URL, if PATCHBAY_URL is another.
	options := &bot.Options{Audience: os.Getenv("PATCHBAY_AUDIENCE")}
	echo, err := bot.New(os.Getenv("PATCHBAY_URL"), os.Getenv("PATCHBAY_BOT"), key, options)
	if err = errors.Join(wrong, err); err != nil {
		log.Fatal(err)
	}
	if _, err := echo.RegisterWithDiscovery(context.Background(), bot.Registration{Capabilities: []string{"echo"}}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	echo.Serve(context.Background(), take)
}

func take(ctx context.Context, echo *bot.Bot, incoming bot.IncomingCall) error {
	caller, err := echo.VerifyHumanAttestation(ctx, incoming.Ticket, bot.LevelNone, incoming.CallID)
	if err != nil {
		return err
	}
	call, err := echo.AcceptCall(ctx, incoming, bot.Opus)
	if err != nil {
		return err
	}
	fmt.Println("call", call.ID, caller.Level)
	minute, _ := time.ParseDuration(cmp.Or(os.Getenv("PATCHBAY_ECHO_SECONDS"), "60") + "s")
	time.AfterFunc(minute, func() { log.Println(call.Clear(ctx), call.Hangup(ctx)) })
	for packet := range call.ReceiveAudioOpus(ctx) {
		_ = call.SendAudioOpus(ctx, packet.Payload)
	}
	return call.Err()
}
