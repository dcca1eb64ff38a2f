"""Asks a validation server about one OTP by PyPI's yubico-client. Ends with 0 where it is accepted."""

import sys

from yubico_client import Yubico

client_id, key, url, otp = sys.argv[1:]
client = Yubico(client_id, key, api_urls=(url,))
try:
    sys.exit(0 if client.verify(otp) is True else 1)
except Exception as error:  # which of its errors it was is what the caller looks at
    print(type(error).__name__, error)
    sys.exit(1)
