module patchbay/bot

go 1.23
