"""Twilio's own validator for Python, asked one question a line: JSON {token, url, params: [[name, value], …], signature}
on standard input, JSON {expected, valid} on standard output."""

import json
import sys

from multidict import MultiDict
from twilio.request_validator import RequestValidator

for line in sys.stdin:
    question = json.loads(line)
    validator = RequestValidator(question["token"])
    params = MultiDict(question["params"])
    expected = validator.compute_signature(question["url"], params)
    valid = validator.validate(question["url"], params, question["signature"])
    print(json.dumps({"expected": expected, "valid": valid}), flush=True)
