mod dishonest;
mod framework;
mod planted;
mod random_worlds;
mod scenarios;
mod support;
mod toy;
