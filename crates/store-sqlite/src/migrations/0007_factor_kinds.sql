-- Kinds of factor without columns of their own: detail is JSON that does not change, counter is what rises with each use.
-- handle names a factor from outside (a Yubico public id, a credential id, a key's thumbprint); serial is what is
-- printed on a token.
ALTER TABLE factors ADD COLUMN totp_window INTEGER;
ALTER TABLE factors ADD COLUMN handle TEXT;
ALTER TABLE factors ADD COLUMN detail TEXT;
ALTER TABLE factors ADD COLUMN counter INTEGER;
ALTER TABLE factors ADD COLUMN serial TEXT;

UPDATE factors SET totp_window = 1 WHERE kind = 'totp';
UPDATE factors SET handle = yubico_public_id WHERE kind = 'yubico_otp';

CREATE UNIQUE INDEX factors_by_handle ON factors (tenant, kind, handle);
CREATE UNIQUE INDEX factors_by_serial ON factors (tenant, serial);
