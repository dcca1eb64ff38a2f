"""A client that was generated from the OpenAPI document alone does an operator's first acts.

openapi_client.py FOLDER ADDRESS: FOLDER holds the generated package; prints one line.
"""

import sys

sys.path.insert(0, sys.argv[1])

from signet_admin_api_client import Client, models
from signet_admin_api_client.api.clients import add_client
from signet_admin_api_client.api.factors import add_factor
from signet_admin_api_client.api.users import add_user, remove_user, show_user

client = Client(base_url=sys.argv[2])
user = add_user.sync(client=client, body=models.NewUser(name="generated", password="correct horse battery staple"))
assert isinstance(user, models.User), user
totp = models.NewTotp.from_dict({"kind": "totp", "label": "phone"})
factor = add_factor.sync("generated", client=client, body=totp, idempotency_key="generated-1")
assert isinstance(factor, models.Enrolled) and factor.secret_base32, factor
again = add_factor.sync("generated", client=client, body=totp, idempotency_key="generated-1")
assert isinstance(again, models.Enrolled) and again.id == factor.id and not again.secret_base32, again
new = models.NewClient.from_dict({"name": "generated", "grants": ["client_credentials"], "scope": "read"})
app = add_client.sync(client=client, body=new)
assert isinstance(app, models.Client) and app.client_secret, app
shown = show_user.sync("generated", client=client)
assert [known.id for known in shown.factors] == [factor.id], shown
taken = add_user.sync(client=client, body=models.NewUser(name="generated", password="correct horse battery staple"))
assert isinstance(taken, models.Problem) and taken.status == 409, taken
assert remove_user.sync_detailed("generated", client=client).status_code == 204
print("ok a client generated from the document adds a user, a factor and a client")
