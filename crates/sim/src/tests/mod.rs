mod framework;
mod toy;
