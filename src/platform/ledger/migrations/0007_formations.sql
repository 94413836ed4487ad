-- How many dynos of each process type an app has; without a row, one web and none of any other.

CREATE TABLE formations (
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    type TEXT NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity >= 0),
    PRIMARY KEY (app_id, type)
);
